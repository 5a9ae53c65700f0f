// Data that is already in memory: a matrix, labels, a model, its quality, one prediction.
#include <redoubt/redoubt.hpp>

int main() {
  redoubt::Random random(1);
  redoubt::Tensor<float> x({1000, 3});
  std::vector<std::int32_t> labels(x.rows());
  for (std::size_t row = 0; row < x.rows(); ++row) {
    for (float& value : x.row(row)) value = static_cast<float>(random.normal());
    labels[row] = x(row, 0) * x(row, 1) > 0;
  }
  const auto data = redoubt::Dataset::from_matrix(x, labels);
  const auto [train, test] = data.split(0.25, 7);
  const auto model = redoubt::GradientBoosting{{.trees = 100}}.fit(train);
  std::cout << model.evaluate(test) << '\n';

  const float row[] = {1.0f, 1.0f, 0.0f};
  float probabilities[2];
  if (model.predict(row, probabilities) != redoubt::errc::ok) return 1;
  std::cout << "P(same sign) = " << probabilities[1] << '\n';
  return probabilities[1] > 0.5f ? 0 : 1;
}
