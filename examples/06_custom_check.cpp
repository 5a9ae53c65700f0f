// A check of your own is one small type. This one blocks rows of accounts that write faster than a person can; it then
// runs inside the screen and appears in its report like the built-in ones.
#include <iostream>
#include <map>
#include <redoubt/data/generators.hpp>
#include <redoubt/robustness/screen.hpp>

struct WritingSpeed {
  static constexpr std::string_view id = "writing_speed";
  static constexpr redoubt::Stage stage = redoubt::Stage::pre_train;
  // Without sources or times the check abstains by itself; needing gradients here would not compile.
  static constexpr redoubt::Need needs = redoubt::Need::sources | redoubt::Need::times;

  std::size_t most_per_hour = 6;

  void update(const redoubt::Batch& batch) {
    const auto& data = *batch.data;
    for (std::size_t r = 0; r < data.rows(); ++r)
      if (const auto source = data.sources()[r]; source >= 0)
        rows_of[{data.source_names()[static_cast<std::size_t>(source)], data.times()[r] / 3'600'000'000}].push_back(
            data.row_ids()[r]);
  }
  void merge(const WritingSpeed& other) {
    for (const auto& [key, rows] : other.rows_of) rows_of[key].insert(rows_of[key].end(), rows.begin(), rows.end());
  }
  redoubt::Verdict finish() const {
    redoubt::Verdict verdict;
    verdict.check = id;
    verdict.stage = stage;
    for (const auto& [key, rows] : rows_of)
      if (rows.size() > most_per_hour)
        for (const auto row : rows)
          verdict.findings.push_back(
              {row, key.first, 1.0, "one of " + std::to_string(rows.size()) + " rows within an hour"});
    verdict.outcome = verdict.findings.empty() ? redoubt::Outcome::pass : redoubt::Outcome::block;
    verdict.summary = std::to_string(verdict.findings.size()) + " rows were written faster than " +
                      std::to_string(most_per_hour) + " an hour";
    return verdict;
  }

  std::map<std::pair<std::string, std::int64_t>, std::vector<redoubt::RowId>> rows_of;  // per account and hour
};

int main() {
  const auto market = redoubt::generate_marketplace(
      {.rows = 3000, .five_star_rows = 80, .five_star_accounts = 12, .one_star_rows = 60, .one_star_accounts = 10});
  std::cout << redoubt::screen(market.data, {.checks = {WritingSpeed{.most_per_hour = 3}}});
}
