// Our side of bench/peers/robustness_poison.py. Usage: peer_robustness_poison_worker MODE KEY=VALUE...
//   labels    lines "load PROBABILITIES LABELS" (npy), "run" -> seconds, "issues FILE" (positions of the last run)
//   roni      lines "run FOLDER" (x, y, source, trusted_x, trusted_y .npy) -> sources; writes harmful.npy
//   campaign  lines "run CSV FILE" -> number of rows named, which are written to FILE
//   reviews   lines "run TRAIN TEST FILE" -> accuracy of a model of all rows and of those left; blocked rows to FILE
//   newcomers  lines "run CSV SEED" (columns account and label; "marketplace": a generated one) -> recall of a planted
//             campaign of new accounts without times, share of the other rows that is blocked, and what was blocked
//             before; for the marketplace recall and false positives of its own poison with times, too
//   ingest    rows x cols with sources and times through the screen and more checks -> seconds   rows cols
// All: threads.
#include <cmath>
#include <cstdio>
#include <iostream>
#include <set>
#include <sstream>
#include <string>
#include <vector>

#include "bench/peers/trees_loop.hpp"
#include "redoubt/core/error.hpp"
#include "redoubt/core/parallel.hpp"
#include "redoubt/core/random.hpp"
#include "redoubt/core/tensor.hpp"
#include "redoubt/data/csv.hpp"
#include "redoubt/data/dataset.hpp"
#include "redoubt/data/generators.hpp"
#include "redoubt/data/npy.hpp"
#include "redoubt/linear/logistic_regression.hpp"
#include "redoubt/metrics/evaluation.hpp"
#include "redoubt/robustness/calibrate.hpp"
#include "redoubt/robustness/poisoning/confident_learning.hpp"
#include "redoubt/robustness/poisoning/dense_blocks.hpp"
#include "redoubt/robustness/poisoning/outlier_scores.hpp"
#include "redoubt/robustness/poisoning/provenance.hpp"
#include "redoubt/robustness/screen.hpp"

namespace {

using namespace redoubt;
using bench::Settings;

template <class T>
void write_list(const std::vector<T>& list, const std::string& path) {
  Tensor<double> out({list.size()});
  for (std::size_t i = 0; i < list.size(); ++i) out.data()[i] = static_cast<double>(list[i]);
  write_npy<double>(out, path);
}

std::vector<std::int32_t> read_labels(const std::string& path) {
  const auto read = read_npy<std::int64_t>(path);
  return {read.data(), read.data() + read.size()};
}

int labels() {
  Tensor<double> probabilities;
  std::vector<std::int32_t> given;
  LabelIssues issues;
  for (std::string command, a, b, line; std::getline(std::cin, line);) {
    std::istringstream words(line);
    words >> command >> a >> b;
    if (command == "load") {
      probabilities = read_npy<double>(a);
      given = read_labels(b);
      std::printf("ok\n");
    } else if (command == "issues") {
      write_list(issues.flagged, a);
      std::printf("ok\n");
    } else {
      const double start = bench::now();
      issues = confident_learning(MatrixView<const double>(probabilities), given);
      std::printf("%.9f\n", bench::now() - start);
    }
    std::fflush(stdout);
  }
  return 0;
}

Column numbers(std::string name, std::vector<double> values) {
  Column column;
  column.spec.name = std::move(name);
  column.spec.type = ColumnType::numeric;
  column.numbers = std::move(values);
  return column;
}

Column categories(std::string name, ColumnRole role, std::vector<std::string> names, std::vector<std::int32_t> codes) {
  Column column;
  column.spec.name = std::move(name);
  column.spec.type = ColumnType::categorical;
  column.spec.role = role;
  column.spec.categories = std::move(names);
  column.codes = std::move(codes);
  return column;
}

std::vector<std::string> numbered(char letter, std::size_t count) {
  std::vector<std::string> names;
  for (std::size_t i = 0; i < count; ++i) names.push_back(letter + std::to_string(i));
  return names;
}

Dataset sourced(const Tensor<float>& x, const std::vector<std::int32_t>& y, std::vector<std::int32_t> source) {
  std::vector<Column> columns;
  for (std::size_t c = 0; c < x.cols(); ++c) {
    std::vector<double> values(x.rows());
    for (std::size_t r = 0; r < values.size(); ++r) values[r] = x(r, c);
    columns.push_back(numbers("f" + std::to_string(c), std::move(values)));
  }
  const auto count = static_cast<std::size_t>(*std::max_element(source.begin(), source.end())) + 1;
  columns.push_back(categories("source", ColumnRole::source, numbered('s', count), std::move(source)));
  columns.push_back(categories("class", ColumnRole::target, {"no", "yes"}, y));
  return Dataset(std::move(columns));
}

int roni(Arena& arena) {
  for (std::string command, folder, line; std::getline(std::cin, line);) {
    std::istringstream(line) >> command >> folder;
    const auto read = [&](const char* name) { return read_npy<float>(folder + "/" + name + ".npy"); };
    const auto ints = [&](const char* name) { return read_labels(folder + "/" + name + ".npy"); };
    const auto trusted_y = ints("trusted_y");
    const Dataset data = sourced(read("x"), ints("y"), ints("source"));
    const Dataset trusted = sourced(read("trusted_x"), trusted_y, std::vector<std::int32_t>(trusted_y.size(), 0));
    // Pixels as they are: with 45 rows, scaling would blow up those that are nearly always black.
    const auto fit = [](const Dataset& rows) { return LogisticRegression{{.l2 = 1, .encoder = {}}}.fit(rows); };
    std::vector<std::size_t> harmful;
    const auto harms = provenance_harm(data, trusted, fit, {.arena = &arena});
    for (const SourceHarm& s : harms)
      if (s.harmful) harmful.push_back(std::stoul(s.source.substr(1)));
    write_list(harmful, folder + "/harmful.npy");
    std::printf("%zu\n", harms.size());
    std::fflush(stdout);
  }
  return 0;
}

int campaign(Arena& arena) {
  for (std::string command, csv, file, line; std::getline(std::cin, line);) {
    std::istringstream(line) >> command >> csv >> file;
    const Dataset data = read_csv(csv, {.target = "good",
                                        .source = "account",
                                        .ignore = {"product"},
                                        .types = {{"product", ColumnType::categorical}}});
    const Verdict verdict = run_check(DenseBlocks{{.by = "product"}}, {.data = &data, .arena = &arena});
    std::vector<RowId> named;
    for (const Finding& finding : verdict.findings) named.push_back(finding.row);
    write_list(named, file);
    std::printf("%zu\n", named.size());
    std::fflush(stdout);
  }
  return 0;
}

int reviews(Arena& arena) {
  const CsvOptions columns{.target = "positive",
                           .source = "account",
                           .time = "posted",
                           .ignore = {"product"},
                           .types = {{"product", ColumnType::categorical}}};
  LogisticRegressionOptions words{.l2 = 1, .arena = &arena};
  words.encoder.text_dims = 16384;
  words.encoder.text_ngrams = 1;
  for (std::string command, train_csv, test_csv, file, line; std::getline(std::cin, line);) {
    std::istringstream(line) >> command >> train_csv >> test_csv >> file;
    const Dataset train = read_csv(train_csv, columns), test = read_csv(test_csv, columns);
    const ScreenReport report = screen(train, {.arena = &arena});
    write_list(report.blocked(), file);
    const auto accuracy = [&](const Dataset& rows) {
      return LogisticRegression{words}.fit(rows).evaluate(test).value("accuracy");
    };
    std::printf("%.6f %.6f\n", accuracy(train), accuracy(train.without(report.blocked())));
    std::fflush(stdout);
  }
  return 0;
}

int newcomers(Arena& arena) {
  for (std::string command, csv, line; std::getline(std::cin, line);) {
    std::uint64_t seed = 0;
    std::istringstream(line) >> command >> csv >> seed;
    Dataset data;
    double caught = 0, poison = 0, accused = 0, honest = 0;
    if (csv == "marketplace") {
      const Marketplace market = generate_marketplace({.seed = seed});
      const ScreenReport report = screen(market.data, {.arena = &arena});
      const std::set<RowId> blocked(report.blocked().begin(), report.blocked().end());
      for (const MarketplaceTruth& truth : market.truth) {
        const bool planted = truth.poison != PoisonKind::none;
        (planted ? poison : honest) += 1;
        (planted ? caught : accused) += blocked.contains(truth.row);
      }
      data = market.data.with_role("time", ColumnRole::ignore);
    } else {
      data = read_csv(csv, {.target = "label", .source = "account"});
    }
    const PlantedPatterns planted = plant_patterns(
        data, {.flip_rate = 0, .source_rate = 0, .trigger_rate = 0, .clean_label_rate = 0, .seed = seed});
    const std::set<RowId> campaign(planted.campaign.begin(), planted.campaign.end());
    const auto before = static_cast<double>(screen(data, {.arena = &arena}).blocked().size());
    double hits = 0, others = 0;
    const ScreenReport after = screen(planted.data, {.arena = &arena});
    for (const RowId row : after.blocked()) (campaign.contains(row) ? hits : others) += 1;
    const auto rows = static_cast<double>(data.rows());
    if (campaign.empty()) throw Error(errc::invalid_argument, "no campaign was planted");
    std::printf("%.4f %.4f %.4f %.4f %.4f\n", hits / static_cast<double>(campaign.size()), others / rows, before / rows,
                poison > 0 ? caught / poison : 0, honest > 0 ? accused / honest : 0);
    std::fflush(stdout);
  }
  return 0;
}

int ingest(const Settings& settings, Arena& arena) {
  const auto rows = static_cast<std::size_t>(settings.number("rows", 1'000'000));
  const auto cols = static_cast<std::size_t>(settings.number("cols", 28));
  Random random(7);
  std::vector<Column> columns;
  std::vector<double> score(rows, 0.0);
  Tensor<float> x({rows, cols});
  for (std::size_t c = 0; c < cols; ++c) {
    std::vector<double> values(rows);
    for (std::size_t r = 0; r < rows; ++r) {
      values[r] = random.normal();
      score[r] += values[r] * (c % 3 == 0 ? 0.5 : 0.1);
      x(r, c) = static_cast<float>(values[r]);
    }
    columns.push_back(numbers("f" + std::to_string(c), std::move(values)));
  }
  constexpr std::size_t accounts = 50'000;
  std::vector<std::int32_t> source(rows), label(rows);
  Column posted;
  posted.spec.name = "posted";
  posted.spec.type = ColumnType::timestamp;
  posted.spec.role = ColumnRole::time;
  for (std::size_t r = 0; r < rows; ++r) {
    source[r] = static_cast<std::int32_t>(random.below(accounts));
    label[r] = random.uniform() < 1 / (1 + std::exp(-score[r]));
    posted.times.push_back(1'700'000'000 + static_cast<std::int64_t>(random.below(360 * 86400)));
  }
  columns.push_back(categories("account", ColumnRole::source, numbered('a', accounts), std::move(source)));
  columns.push_back(std::move(posted));
  columns.push_back(categories("good", ColumnRole::target, {"no", "yes"}, std::move(label)));
  const Dataset data(std::move(columns));
  double start = bench::now();
  const ScreenReport report = screen(data, {.arena = &arena});
  const double screened = bench::now() - start;
  std::ostringstream shown;
  for (const Verdict& verdict : report.verdicts()) shown << verdict.check << ' ' << verdict.seconds << " s, ";
  start = bench::now();
  const auto ecod = ecod_scores(x, &arena), hbos = hbos_scores(x, {.arena = &arena});
  const double scored = bench::now() - start;
  std::printf("%.6f screen %.3f s (%s), ECOD and HBOS %.3f s; %zu of %zu rows blocked\n", screened + scored, screened,
              shown.str().c_str(), scored, report.blocked().size(), rows);
  return ecod.size() == hbos.size() ? 0 : 1;
}

int run(const std::string& mode, const Settings& settings) {
  Arena arena(settings.number("threads", 1));
  if (mode == "labels") return labels();
  if (mode == "roni") return roni(arena);
  if (mode == "campaign") return campaign(arena);
  if (mode == "reviews") return reviews(arena);
  if (mode == "newcomers") return newcomers(arena);
  if (mode == "ingest") return ingest(settings, arena);
  std::fprintf(stderr, "unknown mode %s\n", mode.c_str());
  return 2;
}

}  // namespace

int main(int argc, char** argv) { return redoubt::bench::run_worker(argc, argv, run); }
