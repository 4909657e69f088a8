"""Start and end of speech by voice activity rules, compared with Silero's network, on recordings of people.

The rules are eq. 1 of priyasad2019 with avemo's constants, and with those of a public implementation of
the ratio (300-3000 Hz, a median over 25 windows, no level). A rule loses speech if it begins more than
0.3 s after Silero or ends more than 0.3 s before it; the margins make up for 0.3 s. It keeps more if it is
more than 0.5 s off the other way at either end. If either detects no speech, nothing is compared.

    python benchmarks/voice_activity.py ../shared/data/java_sed/clips ../shared/data/java_sed/speech

Needs the package silero-vad (``pip install 'avemo[vad]'``).
"""

from __future__ import annotations

import argparse
import math
from pathlib import Path

import numpy as np
from tqdm import tqdm

from avemo.extract.decode.media import Media
from avemo.extract.voice_activity import EnergyShare, EnergyShareSettings, Silero
from avemo.pipelines.cli.table import aligned

RULES = {
    "avemo": EnergyShare(),
    "public numbers": EnergyShare(EnergyShareSettings(low_hz=300.0, median=25, within_db=-math.inf)),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folders", nargs="+", type=Path, help="folders of recordings or clips")
    parser.add_argument("--at-most", type=int, default=168, help="files per folder, spread evenly")
    options = parser.parse_args()
    silero = Silero()
    rows = []
    for folder in options.folders:
        paths = sorted(path for path in folder.iterdir() if path.is_file())
        paths = paths[:: max(1, math.ceil(len(paths) / options.at_most))]
        differences: dict[str, list[tuple[float, float]]] = {name: [] for name in RULES}
        unheard = dict.fromkeys(RULES, 0)
        for path in tqdm(paths, unit="file"):
            samples = np.concatenate(list(Media(path).sound()))
            truth = silero([samples]).speech
            for name, rule in RULES.items():
                heard = rule([samples]).speech
                unheard[name] += heard is None
                if heard and truth:
                    differences[name].append((heard[0] - truth[0], heard[1] - truth[1]))
        for name, found in differences.items():
            begin, end = np.array(found).T
            rows.append(
                [
                    folder.name,
                    name,
                    len(paths),
                    unheard[name],
                    len(found),
                    int(((begin > 0.3) | (end < -0.3)).sum()),
                    int(((begin < -0.5) | (end > 0.5)).sum()),
                ]
            )
    print(aligned(["folder", "rule", "files", "no speech", "compared", "loses", "keeps more"], rows))


if __name__ == "__main__":
    main()
