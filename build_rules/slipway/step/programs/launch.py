"""Starts a program by the name of its module: the one place that says where the modules are.

    python3 -I -S -B slipway/step/programs/launch.py slipway.npm.programs.install [ARGUMENT...]

Python in isolated mode finds no module beside the file that it starts.  This file is beside every
program, at the same place below the top, so that programs themselves are modules as any other.
"""

import os
import runpy
import sys

if __name__ == "__main__":
    here = os.path.dirname(os.path.abspath(__file__))
    sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.dirname(here))))
    del sys.argv[0]
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
