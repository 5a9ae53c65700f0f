#pragma once
// A small marketplace for the tests of this room: two numbers decide, with noise, whether a review is genuine.
#include <string>
#include <vector>

#include "redoubt/core/random.hpp"
#include "redoubt/data/dataset.hpp"
#include "redoubt/linear/logistic_regression.hpp"
#include "redoubt/model/model.hpp"

namespace redoubt::test {

/// `flipped`: share of labels turned round. Row ids start at `first_id`; sources are "account0".."account9".
inline Dataset sample_rows(std::size_t rows, std::uint64_t seed, double flipped = 0, RowId first_id = 0) {
  Random random(seed);
  Column a{{"stars"}, {}, {}, {}, {}}, b{{"length"}, {}, {}, {}, {}};
  Column country{{"country", ColumnType::categorical, ColumnRole::feature, {"de", "fr"}}, {}, {}, {}, {}};
  Column account{{"account", ColumnType::categorical, ColumnRole::source, {}}, {}, {}, {}, {}};
  for (int i = 0; i < 10; ++i) account.spec.categories.push_back("account" + std::to_string(i));
  Column genuine{{"genuine", ColumnType::categorical, ColumnRole::target, {"no", "yes"}}, {}, {}, {}, {}};
  std::vector<RowId> ids;
  for (std::size_t i = 0; i < rows; ++i) {
    const double x = random.normal(), y = random.normal();
    a.numbers.push_back(x);
    b.numbers.push_back(y);
    country.codes.push_back(static_cast<std::int32_t>(random.below(2)));
    account.codes.push_back(static_cast<std::int32_t>(random.below(10)));
    int label = 2 * x - y + 0.5 * random.normal() > 0;
    if (random.uniform() < flipped) label = 1 - label;
    genuine.codes.push_back(label);
    ids.push_back(first_id + i);
  }
  return Dataset({a, b, country, account, genuine}, ids);
}

inline Model sample_model(const Dataset& train) { return LogisticRegression{}.fit(train); }

}  // namespace redoubt::test
