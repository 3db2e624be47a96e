"""The gate: whether a candidate may replace the champion, by what both say about the same rows.

``metrics`` computes, ``comparison`` decides; ``proportions`` and ``resampling`` are the statistics that it decides by.
"""
