"""Run a script or a module on the pretended device: `python -m pretended_cuda [-m] NAME ARGUMENT...`."""

import runpy
import sys

import pretended_cuda

if __name__ == "__main__":
    pretended_cuda.load()
    sys.argv = sys.argv[1:]
    if sys.argv[0] == "-m":
        sys.argv = sys.argv[1:]
        runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
    else:
        runpy.run_path(sys.argv[0], run_name="__main__")
