"""avemo: audio-video emotion recognition, from clips to a challenge submission.

Two stages that share nothing but a feature store:

* :mod:`avemo.extract` decodes clips, aligns the main face, runs face networks over transformed
  views of it and turns the sound into spectrograms;
* :mod:`avemo.cache` keeps all of that, with where it came from, in immutable HDF5 shards;
* :mod:`avemo.fusion` reads named features from the store and trains attention and
  factorized-bilinear-pooling heads on them;
* :mod:`avemo.pipelines` holds the command lines, data sets and recipes.
"""

__version__ = "0.1.0"
