#pragma once
// Data and results of LightGBM in tests/trees/golden/boosting.tsv (bench/peers/golden/boosting.py).
#include <map>

#include "redoubt/trees/gradient_boosting.hpp"
#include "trees/support.hpp"

namespace redoubt::test {

struct BoostingGolden {
  Tensor<float> x{{0, 4}};
  std::vector<double> value, amount, count, grade, weight;
  std::vector<std::int32_t> binary, label;
  std::vector<std::uint32_t> query;
  std::map<std::string, std::vector<double>> scores;             // row by row
  std::map<std::string, std::map<std::string, double>> metrics;  // case, name
};

inline const BoostingGolden& boosting_golden() {
  static const BoostingGolden golden = [] {
    BoostingGolden g;
    std::vector<float> cells;
    std::ifstream file(std::string(REDOUBT_SOURCE_DIR) + "/tests/trees/golden/boosting.tsv");
    for (std::string line; std::getline(file, line);) {
      std::istringstream fields(line);
      std::string kind, name;
      fields >> kind;
      if (kind == "row") {
        std::vector<double> v(12);
        for (double& field : v) fields >> field;
        for (int c = 0; c < 4; ++c) cells.push_back(static_cast<float>(v[static_cast<std::size_t>(c)]));
        g.value.push_back(v[4]);
        g.amount.push_back(v[5]);
        g.count.push_back(v[6]);
        g.binary.push_back(static_cast<std::int32_t>(v[7]));
        g.label.push_back(static_cast<std::int32_t>(v[8]));
        g.grade.push_back(v[9]);
        g.weight.push_back(v[10]);
        g.query.push_back(static_cast<std::uint32_t>(v[11]));
      } else if (kind == "score") {
        fields >> name;
        for (double v; fields >> v;) g.scores[name].push_back(v);
      } else if (kind == "metric") {
        std::string metric;
        double v = 0;
        fields >> name >> metric >> v;
        g.metrics[name][metric] = v;
      }
    }
    g.x = Tensor<float>({g.value.size(), 4});
    std::copy(cells.begin(), cells.end(), g.x.flat().begin());
    return g;
  }();
  REQUIRE(golden.value.size() == 240);
  return golden;
}

}  // namespace redoubt::test
