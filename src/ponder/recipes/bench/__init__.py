"""`ponder bench`: how fast models run here, next to what this machine can do and to other libraries.

Every side is a process of its own that loads once and then takes turns with the others:

    turns.py     what a process of a side does: wait for a turn, take it, report (standard library only)
    ours.py      Ponder's side
    limits.py    the machine's side: memory bandwidth and matrix products
    peers.py     the other libraries' sides, in benchmarks/peers, and what they can run
    sides.py     the driver's end of a process
    models.py    from the name that a person gives to files that can be timed
    files.py     one model in the formats that all sides read
    run.py       the order of turns
    figures.py   from turns to figures; plot.py draws them
    quality.py   what a format costs in exactness

and `--contexts`, what a growing text costs:

    reader.py    the side: reads one sequence on and on
    contexts.py  how far, and what is measured on the way
    contexts_figures.py  from the record to figures and their plot
"""
