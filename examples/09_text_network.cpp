// Sentences to classes with a bag of embeddings: words become ids by hashing, a row is a list of ids, -1 pads. Only the
// rows of the table that a batch uses move. Argument: the folder of rt-polarity; without one a few made-up sentences.
#include <fstream>
#include <iostream>
#include <redoubt/core/random.hpp>
#include <redoubt/data/dataset.hpp>
#include <redoubt/metrics/evaluation.hpp>
#include <redoubt/nn/neural_network.hpp>
#include <sstream>

using namespace redoubt::layer;

namespace {

constexpr std::uint32_t entries = 1 << 15;
constexpr std::size_t longest = 64;  // words and pairs of words

std::vector<float> ids(const std::string& sentence) {
  std::vector<float> found;
  std::istringstream words(sentence);
  std::string before;
  const auto add = [&](const std::string& text) {
    std::uint32_t hash = 2166136261u;  // FNV-1a
    for (const char c : text) hash = (hash ^ static_cast<unsigned char>(c)) * 16777619u;
    if (found.size() < longest) found.push_back(static_cast<float>(hash % entries));
  };
  for (std::string word; words >> word; before = word) {
    add(word);
    if (!before.empty()) add(before + ' ' + word);
  }
  found.resize(longest, -1);
  return found;
}

std::vector<std::string> lines(const std::string& path, bool good) {
  std::vector<std::string> all;
  std::ifstream file(path);
  for (std::string line; std::getline(file, line);) all.push_back(line);
  redoubt::Random random(good);
  const char* const praise[] = {"a delight", "moving and wise", "the best film of the year"};
  const char* const blame[] = {"a bore", "tedious and long", "the worst film of the year"};
  const char* const other[] = {"with a cast of many", "set in a small town", "from the maker of another"};
  while (path.empty() && all.size() < 400) {
    all.push_back(std::string(other[random.below(3)]) + " , " + (good ? praise : blame)[random.below(3)]);
  }
  return all;
}

}  // namespace

int main(int argc, char** argv) {
  const std::string folder = argc > 1 ? argv[1] : "";
  std::vector<std::vector<float>> rows;
  std::vector<std::int32_t> labels;
  for (const bool good : {false, true}) {
    const std::string path = folder.empty() ? "" : folder + (good ? "/rt-polarity.pos" : "/rt-polarity.neg");
    for (const std::string& line : lines(path, good)) {
      rows.push_back(ids(line));
      labels.push_back(good);
    }
  }
  redoubt::Tensor<float> x{rows.size(), longest};
  for (std::size_t r = 0; r < rows.size(); ++r) std::copy(rows[r].begin(), rows[r].end(), x.row(r).begin());
  const auto data = redoubt::Dataset::from_matrix(x, std::span<const std::int32_t>(labels));
  const auto [train, test] = data.split(0.1, 1);
  redoubt::EncoderOptions as_they_are;  // ids must not be standardised
  const redoubt::NeuralNetwork network({EmbeddingBag{entries, 64}, Dropout{0.5}, Output{}},
                                       {.epochs = 30,
                                        .batch = 64,
                                        .optimizer = {.learning_rate = 3e-3},
                                        .validation_fraction = 0.1,
                                        .patience = 3,
                                        .encoder = as_they_are});
  const redoubt::Model model = network.fit(train);
  std::cout << model.evaluate(test) << '\n';
  for (const char* text : {"the best film of the year", "tedious and long"}) {
    const std::vector<float> row = ids(text);
    float p[2];
    if (model.predict(row, p) == redoubt::errc::ok) std::cout << text << ": " << p[1] << '\n';
  }
}
