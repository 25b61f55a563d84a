"""The benchmark: ``python -m regkern bench``.

Read it in this order: ``kernels`` says what is measured, ``peers`` how each contender does it, ``measure`` how time is
taken, ``session`` how a run is cut to its time; ``results`` holds what comes out, and ``report``, ``claims``,
``compare`` and ``plot`` show it. Nothing here is imported by ``import regkern``.
"""
