"""Recall and speed of faiss indices: python experiments/benchmarks/approximate_search.py FOLDER

FOLDER is a data set. Its vectors are a truncated SVD of TF-IDF, so that nothing has to be trained.
"""

import sys
from typing import Any

import numpy as np
from sklearn.decomposition import TruncatedSVD
from sklearn.feature_extraction.text import TfidfVectorizer

from pingraph.approximate import recall_speed
from pingraph.datasets import PinBoardDataset, open_dataset
from pingraph.interfaces import EmbeddingTable
from pingraph.splits import PinSplit

CHANNELS = 128
INDICES = (
    ("HNSW32", "efSearch", (8, 16, 64, 256)),
    ("IVF256,Flat", "nprobe", (1, 4, 16, 64)),
    ("IVF256,SQ8", "nprobe", (1, 4, 16, 64)),
)


def main() -> None:
    dataset = open_dataset(sys.argv[1])
    split, table = PinSplit().split(dataset), embed(dataset)
    for factory, parameter, efforts in INDICES:
        told = recall_speed(
            table, dataset, split, factory=factory, parameter=parameter, efforts=efforts
        )
        size = f"{told['bytes_per_pin']:.0f} bytes a pin, {told['pins']:,} pins"
        print(f"{factory}: {told['build_seconds']:.0f} s, {size}, {told['threads']} threads")
        exact = told["exact"]
        cold = exact["tasks"]["cold"]["recall@10"]["value"]
        print(f"  exact {exact['queries_per_second']:8,.0f} queries/s, cold {cold:.3f}")
        for point in told["points"]:
            print(f"  {parameter} {point['effort']:3} {_line(point)}")


def embed(dataset: PinBoardDataset) -> EmbeddingTable:
    words = TfidfVectorizer(token_pattern=r"\w+", dtype=np.float32).fit_transform(dataset.texts)
    vectors = TruncatedSVD(CHANNELS, random_state=0).fit_transform(words).astype(np.float32)
    vectors /= np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-9)
    return EmbeddingTable(
        pin_ids=dataset.pin_ids,
        image=np.zeros_like(vectors),
        text=vectors,
        fused=vectors,
        has_image=dataset.has_image,
        has_text=dataset.has_text,
    )


def _line(point: dict[str, Any]) -> str:
    cold = point["tasks"]["cold"]["recall@10"]
    ends = ", ".join(f"{end:+.1%}" for end in cold["lift_ci95"] or ())
    speed = f"{point['queries_per_second']:8,.0f} queries/s"
    return f"recall {point['recall']['value']:.3f}, {speed}, cold {cold['lift']:+.1%} [{ends}]"


if __name__ == "__main__":
    main()
