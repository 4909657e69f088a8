#!/usr/bin/env bash
# Train teachers in parallel on one GPU, then ferplusnet on their probabilities, and evaluate all of them.
#
#   benchmarks/gpu_pretrain.sh DATA OUT
#
# DATA contains fer2013.csv and fer2013new.csv, or an unpack.py that writes them (--csv). OUT gets weights, cards
# and logs. If stopped, the same command continues. Meant for ten minutes on an H100, which is untested; on a
# CPU it was run to the end with
#
#   TEACHERS=2 TEACHER_EPOCHS=1 EPOCHS=1 ROWS=600 benchmarks/gpu_pretrain.sh DATA OUT
#
# PYTHON may name another interpreter. avemo itself need not be installed: this checkout is used.
set -euo pipefail

data=$(realpath "$1") out=$(mkdir -p "$2" && realpath "$2")
teachers=${TEACHERS:-3} teacher_epochs=${TEACHER_EPOCHS:-60} epochs=${EPOCHS:-120}
python=${PYTHON:-python3} checkout=$(cd "$(dirname "$0")/.." && pwd)

mkdir -p "$out/path" "$out/csv"
ln -sfn "$checkout" "$out/path/avemo"
export PYTHONPATH="$out/path${PYTHONPATH:+:$PYTHONPATH}" OMP_NUM_THREADS=${OMP_NUM_THREADS:-2}

avemo() { "$python" -c 'from avemo.pipelines.cli.main import main; main(prog_name="avemo")' "$@"; }

if [ -e "$data/fer2013.csv" ]; then
    cp -n "$data"/fer2013{,new}.csv "$out/csv/"
elif [ ! -e "$out/csv/fer2013.csv" ]; then
    "$python" "$data/unpack.py" --csv "$out/csv"
fi
if [ -n "${ROWS:-}" ]; then # evenly spread, so that all parts and classes are there
    for table in fer2013.csv fer2013new.csv; do
        awk -v rows="$ROWS" 'NR == FNR { n = FNR; next } FNR == 1 || FNR % int(n / rows) == 0' \
            "$out/csv/$table" "$out/csv/$table" > "$out/csv/part" && mv "$out/csv/part" "$out/csv/$table"
    done
fi
votes=(--data "$out/csv/fer2013new.csv" --votes soft --label-smoothing 0 --lr 0.1)

files=() running=()
for seed in $(seq 1 "$teachers"); do
    file="$out/teacher-$seed.safetensors"
    files+=(--teacher "$file")
    avemo pretrain face "${votes[@]}" --backbone ferresnet --epochs "$teacher_epochs" --seed "$seed" --mixup 0.2 \
        --out "$file" > "$out/teacher-$seed.log" 2>&1 &
    running+=($!)
done
for process in "${running[@]}"; do wait "$process"; done

avemo pretrain face "${votes[@]}" "${files[@]}" --teacher-share 0.7 --backbone ferplusnet --epochs "$epochs" \
    --augment blur=0.5,noise=4 --half --out "$out/ferplusnet.safetensors" 2>&1 |
    tr '\r' '\n' | tee "$out/student.log" | grep '^epoch'

for file in "$out"/{teacher-*,ferplusnet}.safetensors; do
    avemo pretrain face --evaluate --weights "$file" --data "$out/csv/fer2013new.csv" 2>&1 |
        tr '\r' '\n' | tee "${file%.safetensors}.txt" | grep -e 'views of each' -e '^accuracy'
done
