// An application that only predicts: loads a model file, prints the outputs for a row of zeros.
#include <redoubt/predict.hpp>

#include <cstdio>
#include <vector>

int main(int argc, char** argv) {
  if (argc != 2) return 2;
  const auto model = redoubt::Model::load(argv[1]);
  std::vector<float> row(model.inputs(), 0.0f), out(model.outputs());
  if (model.predict(row, out) != redoubt::errc::ok) return 1;
  for (float value : out) std::printf("%.9g\n", static_cast<double>(value));
}
