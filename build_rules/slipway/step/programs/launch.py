"""Starts a program by its module name; only this file sets the path of the modules.

    python3 -I -S -B slipway/step/programs/launch.py slipway.npm.programs.install [ARGUMENT...]

In isolated mode, Python does not find modules beside the file that it starts. Every program's
digest contains this file at the same place below the top, so programs are ordinary modules.
"""

import os
import runpy
import sys

if __name__ == "__main__":
    here = os.path.dirname(os.path.abspath(__file__))
    sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.dirname(here))))
    del sys.argv[0]
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
