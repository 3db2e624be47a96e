"""What a program imports, asked of a process of its own; and the DAG that the README shows."""

import re
import subprocess
import sys
from pathlib import Path


def imported(code: str) -> set[str]:
    """Top-level packages that a program has imported at its end."""
    program = f"{code}\nimport sys\nprint(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=600)
    return {name.partition(".")[0] for name in done.stdout.splitlines()[-1].split()}


def readme_dag() -> str:
    """The one block of Python in the README."""
    text = (Path(__file__).parents[1] / "README.md").read_text()
    (code,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    return str(code)
