"""octopi: 3D particle picking in cryo-electron tomograms."""

import sys

if sys.argv[0].rpartition("/")[2] in ("octopi", "-m"):  # a command, not a program that imports us
    from octopi.signals import stop_while_importing

    stop_while_importing()  # before what the command imports, which takes seconds
    from octopi.system.resources import limit_threads

    limit_threads()
