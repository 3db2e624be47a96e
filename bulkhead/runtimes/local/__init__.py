"""The local runtime: a ``V1Pod`` as processes on this machine, each pod held by a supervisor of its own."""
