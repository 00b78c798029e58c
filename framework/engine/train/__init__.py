"""Training: stages, frozen prefixes computed once, the loop, checkpoints, several processes.

==================  ================================================================================
module              what it does
==================  ================================================================================
``loop``            :class:`~engine.train.loop.Trainer`, the recipe: start reading here
``run``             a run's folder: started, gone on with, finished as an artifact
``setup``           a stage made ready
``stages``          freezing, optimizer, learning rate
``step``            one step: the loss of a batch and its gradient, in one piece or in chunks
``sides``           rows of a batch as groups that run through a tower together
``data`` ``pixels`` training data: token sequences, pictures
``checkpoint``      atomic checkpoints; ``saving``: what they hold
``distribution``    several processes
``meter``           what a stage measures of itself
``evaluator``           zero-shot accuracy on ``data.evaluate``
``on_ray``          the same processes on a Ray cluster
``history``         the file of what was measured; ``curves``: its picture
``interrupt``       Ctrl-C and SIGTERM
==================  ================================================================================
"""
