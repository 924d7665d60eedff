"""Train the PyTorch peer on a log: the bare step loop, batches ready beforehand. Prints a JSON object.

    python benchmarks/torch_train.py LOG FEATURE_DICT ITEM_FREQ window|sequence BATCH_SIZE NEGATIVES [shared]
"""
import json
import sys
import time
from pathlib import Path

import numpy as np
import torch
import torch_model

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from data_processor import load_feature_dict, load_item_freq
from network_conf import EMBEDDING_DIMS, ModelConfig, initial_parameters
from reader import Reader, make_batch, sequence_stretches, shuffled_batches, sliding_windows


def main():
    path, dictionary, frequencies, mode, batch_size, negatives, *shared = sys.argv[1:]
    batch_size, negatives, window_size = int(batch_size), int(negatives), 20
    feature_dict = load_feature_dict(dictionary)
    item_freq = load_item_freq(frequencies, feature_dict)
    [log] = Reader(feature_dict, window_size).encode(path)
    stretches = (sliding_windows if mode == "window" else sequence_stretches)(log.lengths, window_size)
    rng = np.random.default_rng(0)
    config = ModelConfig({name: len(feature_dict[name]) for name in EMBEDDING_DIMS})
    network = torch_model.Network(initial_parameters(config, item_freq, rng), item_freq)
    batches = [make_batch(log, part) for part in shuffled_batches(stretches, batch_size, rng)]
    batches = [torch_model.window_batch(batch, window_size) if mode == "window" else torch_model.sequence_batch(batch)
               for batch in batches]
    optimizers = network.optimizers(0.002)

    def step(batch):
        count = len(batch["target_item"])
        shape = (negatives,) if shared else (count, negatives)
        drawn = torch.multinomial(network.noise, int(np.prod(shape)), replacement=True).view(shape)
        cost = network.cost(batch, drawn)
        cost.backward()
        for optimizer in optimizers:
            optimizer.step()
            optimizer.zero_grad()
        return float(cost) * count
    for batch in batches[:3]:
        step(batch)
    started = time.perf_counter()
    cost = sum(step(batch) for batch in batches) / len(log.clicks)
    seconds = time.perf_counter() - started
    print(json.dumps({"seconds": seconds, "instances_per_second": len(log.clicks) / seconds, "cost": cost,
                      "torch": torch.__version__, "threads": torch.get_num_threads()}))


if __name__ == "__main__":
    main()
