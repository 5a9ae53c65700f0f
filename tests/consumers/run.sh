#!/usr/bin/env bash
# Builds a consumer project of its own against Redoubt and runs the README's ten-line program with it.
#   run.sh MODE SOURCE_DIR BUILD_DIR WORK_DIR     MODE: static | shared | subdirectory | predict
# Expects WORK_DIR/reviews.csv and WORK_DIR/numeric.redoubt (made by the make_reviews helper).
set -euo pipefail
mode=$1 source=$2 build=$3 work=$4
cmake=/usr/bin/cmake
command -v ccache >/dev/null && export CMAKE_CXX_COMPILER_LAUNCHER=ccache
common=(-G Ninja -DCMAKE_BUILD_TYPE=Release)
bare=(-DREDOUBT_TESTS=OFF -DREDOUBT_BENCH=OFF -DREDOUBT_EXAMPLES=OFF -DREDOUBT_CLI=OFF -DREDOUBT_FUZZ=OFF)
here=$source/tests/consumers
mkdir -p "$work/$mode"
cd "$work/$mode"
rm -rf consumer prefix light

python3 "$source/tests/house/readme.py" "$source/README.md" --first-program >program.cpp

install_build() { "$cmake" --install "$1" --prefix "$PWD/prefix" >/dev/null; }

case $mode in
  static) install_build "$build" ;;
  predict) install_build "$build" ;;
  shared)
    "$cmake" -S "$source" -B library "${common[@]}" "${bare[@]}" -DBUILD_SHARED_LIBS=ON >/dev/null
    "$cmake" --build library
    install_build library
    ;;
esac

case $mode in
  static | shared)
    "$cmake" -S "$here/find_package" -B consumer "${common[@]}" -DCMAKE_PREFIX_PATH="$PWD/prefix" \
      -DCONSUMER_SOURCE="$PWD/program.cpp" >/dev/null
    ;;
  subdirectory)
    "$cmake" -S "$here/add_subdirectory" -B consumer "${common[@]}" -DREDOUBT_DIR="$source" \
      -DCONSUMER_SOURCE="$PWD/program.cpp" >/dev/null
    ;;
  predict)
    "$cmake" -S "$here/predict_only" -B consumer "${common[@]}" -DCMAKE_PREFIX_PATH="$PWD/prefix" >/dev/null
    ;;
esac
"$cmake" --build consumer

if [[ $mode == predict ]]; then
  ./consumer/consumer ../numeric.redoubt >outputs.txt
  [[ -s outputs.txt ]] || { echo "no outputs"; exit 1; }
  # Neither training code nor store nor HTTP may be linked.
  # (`! grep` would not stop the script, as `set -e` looks past a negation.)
  ldd consumer/consumer >libraries.txt
  if grep -E 'sqlite|boost|httplib|openblas|simdjson' libraries.txt; then echo "predict links these"; exit 1; fi
  nm -C consumer/consumer >symbols.txt
  if grep -E 'redoubt::(GradientBoosting|RandomForest|Mlp|Ridge|LogisticRegression|Workspace|Server)::' symbols.txt; then
    echo "predict links training code, store or service"
    exit 1
  fi
  grep -q 'redoubt::Forest::' symbols.txt || { echo "the forest form is not linked"; exit 1; }
  strip -o stripped consumer/consumer
  echo "figure predict.consumer_stripped_bytes $(stat -c %s stripped)"
else
  cp ../reviews.csv .
  ./consumer/consumer | tee output.txt
  grep -q roc_auc output.txt || { echo "the program printed no evaluation"; exit 1; }
  [[ -s reviews.redoubt ]] || { echo "the program saved no model"; exit 1; }
fi

if [[ $mode == shared ]]; then
  # The light consumer too must find the learned forms, which only registration brings in.
  "$cmake" -S "$here/predict_only" -B light "${common[@]}" -DCMAKE_PREFIX_PATH="$PWD/prefix" >/dev/null
  "$cmake" --build light
  ./light/consumer ../numeric.redoubt
fi
echo "consumer $mode: ok"
