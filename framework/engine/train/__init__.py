"""Training: stages, frozen prefixes computed once, the loop, checkpoints, several processes.

``engine train``, the bench and Ray's workers call :func:`engine.train.run.train`. Start reading at
``loop``, which reads from top to bottom: prepare, stages, steps, evaluate, save.

==================  ================================================================================
module              what it does
==================  ================================================================================
``run``             a run's folder: started, gone on with, finished as an artifact
``loop``            :class:`~engine.train.loop.Trainer`, the recipe
``parts``           the config, resolved once into what each of the modules below needs
``plan``            the stages and their lengths; what cannot be trained is refused
``setup``           a stage made ready; ``inputs``: its batches
``stages``          freezing, the parameters that train, the factor of the schedule
``step``            one step: the loss of a batch and its gradient, in one piece or in chunks
``update``          the gradient checked, clipped and taken
``modalities``      rows of a batch as groups that run through a tower together
``data`` ``pixels`` training data: token sequences, pictures
``checkpoint_model`` the model of a checkpoint, ``RUN@best``
``state``           everything that a checkpoint holds; ``checkpoint``: its files; ``resume``:
                    whether a run may go on from it; ``moments``: the optimizer's part
``callbacks``       weight averaging, early stopping and others, called in order
``reporting``       history and loggers; ``history``: the file; ``curves``: its picture
``faults``          what ends a run with an error; ``health``: how that is found
``distribution``    several processes; ``on_ray``: the same on a Ray cluster
``meter``           what a stage measures of itself
``evaluator``       zero-shot accuracy on ``data.evaluate``
``interrupt``       Ctrl-C and SIGTERM
``names``           the names of what lies in a run's folder
==================  ================================================================================
"""
