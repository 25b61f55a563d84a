"""The benchmark: ``python -m regkern bench``.

Read it in this order: ``kernels`` says what is measured, on the problems of ``data`` (``transforms`` has those of augment,
``unmeasured`` what is missing and why); ``peers`` how each contender does it, and ``agreement`` whether it does the same;
``claims`` what is aimed at, ``lines`` which rows stand for all. ``measure`` says how time is taken, ``plans`` how much is
measured, ``session`` how a run is cut to its time. ``results`` holds what comes out; ``report``, ``verdicts``,
``headline``, ``compare`` and ``plot`` show it. Nothing here is imported by ``import regkern``.
"""
