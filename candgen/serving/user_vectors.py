"""candgen.serving.user_vectors"""

from candgen.console import InputError
from candgen.data.batches import make_batch, next_click_windows, share_rows
from candgen.model.layers import to_tensors
from candgen.serving.topn import USER_BLOCK

import numpy as np
import paddle


def user_vectors(network, log, clicks=None, run=map):
    """Vectors of the users of a log, each from the window that their next click would have.

    Parameters
    ----------
    network : DNNmodel
    log : EncodedLog of L lines.
    clicks : int [L], how many known clicks of each line to look at; all if None.
    run : `map`, or that of an executor whose threads share the blocks.

    Returns
    -------
    float32 [L, u]. Users with windows of like length are computed together, always USER_BLOCK at a time: matrices of
    one height round alike, so that a user's vector is the same alone and in any company.
    """
    windows = next_click_windows(
        log.lengths if clicks is None else clicks, network.config.window_size
    )
    lines, order = len(windows.line), np.argsort(windows.length, kind="stable")
    vectors = np.empty((lines, network.config.dnn_layer_dims[-1]), np.float32)

    def compute(chosen):
        batch = make_batch(log, windows.take(chosen), with_targets=False)
        distinct = share_rows([batch], network.table_ids(training=False))
        with paddle.no_grad():
            return network(network.look_up(distinct), to_tensors(batch)).numpy()

    # a last block is filled up from the front
    blocks = [
        order[np.arange(start, start + USER_BLOCK) % lines] for start in range(0, lines, USER_BLOCK)
    ]
    for chosen, computed in zip(blocks, run(compute, blocks)):
        vectors[chosen] = computed
    if not np.isfinite(vectors).all():
        raise InputError(
            "the model",
            "its user vectors are not finite",
            hint="train it with a lower --learning_rate",
        )
    return vectors
