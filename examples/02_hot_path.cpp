// Predictions from many threads at once, without allocation: one model, one buffer per thread.
#include <redoubt/redoubt.hpp>

#include <thread>

int main() {
  const auto data = redoubt::generate_tabular(5000);
  const auto model = redoubt::RandomForest{{.trees = 50}}.fit(data);
  const auto expected = model.predict_proba(data);

  std::vector<std::thread> threads;
  std::vector<std::size_t> wrong(4, 0);
  for (std::size_t t = 0; t < wrong.size(); ++t)
    threads.emplace_back([&, t] {
      std::vector<float> row(model.inputs()), out(model.outputs());
      for (std::size_t r = t; r < data.rows(); r += wrong.size()) {
        model.encoder().raw_row(data.row(r), row);
        if (model.predict(row, out) != redoubt::errc::ok || out[1] != expected(r, 1)) ++wrong[t];
      }
    });
  for (auto& thread : threads) thread.join();
  const auto total = wrong[0] + wrong[1] + wrong[2] + wrong[3];
  std::cout << data.rows() << " rows from 4 threads, " << total << " differ from the batch answer\n";
  return total == 0 ? 0 : 1;
}
