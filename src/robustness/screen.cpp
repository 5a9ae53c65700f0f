#include "redoubt/robustness/screen.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <chrono>
#include <cmath>
#include <map>
#include <nlohmann/json.hpp>
#include <numeric>
#include <ostream>
#include <set>
#include <unordered_map>

#include "redoubt/core/progress.hpp"
#include "redoubt/core/random.hpp"
#include "redoubt/core/tensor.hpp"
#include "redoubt/data/encoder.hpp"
#include "redoubt/linear/logistic_regression.hpp"
#include "redoubt/robustness/poisoning/confident_learning.hpp"
#include "redoubt/robustness/poisoning/lockstep.hpp"
#include "redoubt/robustness/poisoning/outliers.hpp"
#include "redoubt/robustness/poisoning/rating_shift.hpp"
#include "redoubt/trees/binning.hpp"
#include "redoubt/trees/forest.hpp"
#include "redoubt/trees/gradient_boosting.hpp"
#include "robustness/rows.hpp"
#include "robustness/scoring.hpp"
#include "robustness/source_json.hpp"

namespace redoubt {
namespace {

constexpr double supporting_weight = 0.2;  // copies, bursts: too weak to block even together with outliers
constexpr double outlier_weight = 0.1;
constexpr double warning_weight = 0.5;         // a warning of an added check, and of sources in lockstep
constexpr std::uint32_t largest_witness = 12;  // rows: larger sets of bursting rows teach the model nothing
constexpr double mostly = 0.6;                 // share of doubted rows from which a whole source goes
constexpr double campaign = 0.3;  // the same for copies and bursts: beside chance, they already look organised

/// Groups of rows that are judged together: positions per group.
using RowGroups = std::vector<std::vector<std::uint32_t>>;

RowGroups copy_groups(const Dataset& data, const ScreenOptions& options) {
  const auto roots = duplicate_groups(data, options.duplicates, options.arena);
  RowGroups groups(data.rows());
  for (std::uint32_t r = 0; r < roots.size(); ++r) groups[roots[r]].push_back(r);
  std::erase_if(groups, [](const auto& g) { return g.size() < 2; });
  return groups;
}

/// By label to judge rows with their labels; otherwise to describe and tie rows without looking at labels.
RowGroups burst_groups(const Dataset& data, const ScreenOptions& options, bool by_label) {
  RowGroups groups;
  if (data.times().empty()) return groups;
  BurstOptions chosen = options.bursts;
  chosen.by_label = chosen.by_label && by_label;
  for (Burst& burst : find_bursts(data, chosen)) groups.push_back(std::move(burst.rows));
  return groups;
}

RowGroups source_groups(const Dataset& data) {
  RowGroups groups(data.source_names().size());
  for (std::uint32_t r = 0; r < data.sources().size(); ++r)
    if (data.sources()[r] >= 0) groups[static_cast<std::size_t>(data.sources()[r])].push_back(r);
  return groups;
}

/// What is left of `groups` when only rows that are in some group of `within` are kept.
RowGroups only_rows_of(RowGroups groups, const RowGroups& within, std::size_t rows) {
  std::vector<std::uint8_t> kept(rows, 0);
  for (const auto& group : within)
    for (std::uint32_t r : group) kept[r] = 1;
  for (auto& group : groups) std::erase_if(group, [&](std::uint32_t r) { return !kept[r]; });
  std::erase_if(groups, [](const auto& group) { return group.size() < 2; });
  return groups;
}

/// Sets of rows that are tied together.
class Links {
 public:
  explicit Links(std::size_t rows) : parent_(rows), size_(rows, 1) { std::iota(parent_.begin(), parent_.end(), 0u); }
  std::uint32_t find(std::uint32_t r) {
    while (parent_[r] != r) r = parent_[r] = parent_[parent_[r]];
    return r;
  }
  std::uint32_t size(std::uint32_t r) { return size_[find(r)]; }
  /// Ties the rows of every group, unless a set would grow beyond `most` rows.
  void tie(const RowGroups& groups, std::size_t most) {
    for (const auto& group : groups)
      for (std::size_t i = 1; i < group.size(); ++i) {
        const std::uint32_t a = find(group[0]), b = find(group[i]);
        if (a == b || size_[a] + size_[b] > most) continue;
        parent_[std::max(a, b)] = std::min(a, b);
        size_[std::min(a, b)] = size_[a] + size_[b];
      }
  }

 private:
  std::vector<std::uint32_t> parent_, size_;
};

struct Folds {
  std::vector<std::uint32_t> fold;
  std::vector<double> weight;
  RowGroups campaigns;  ///< the sets of linked bursting rows that are too large to be witnesses
};

/// Folds of nearly equal size in which linked rows stay together: a campaign must not vouch for itself. Nor may one
/// campaign vouch for another: larger sets of linked bursting rows are judged, but weigh nothing in training.
Folds linked_folds(std::size_t rows, const RowGroups& copies, const RowGroups& bursts, const RowGroups& sources,
                   int folds, std::uint64_t seed) {
  const std::size_t most = std::max<std::size_t>(1, rows / (2 * static_cast<std::size_t>(folds)));
  Links links(rows);
  // First what belongs to one campaign: bursts, tied together by common authors and common texts.
  links.tie(bursts, most);
  links.tie(only_rows_of(sources, bursts, rows), most);
  links.tie(only_rows_of(copies, bursts, rows), most);
  Folds result;
  for (std::uint32_t r = 0; r < rows; ++r) result.weight.push_back(links.size(r) > largest_witness ? 0 : 1);
  std::map<std::uint32_t, std::vector<std::uint32_t>> large;
  for (std::uint32_t r = 0; r < rows; ++r)
    if (result.weight[r] == 0) large[links.find(r)].push_back(r);
  for (auto& [root, set] : large) result.campaigns.push_back(std::move(set));
  links.tie(copies, most);
  links.tie(sources, most);
  const auto find = [&](std::uint32_t r) { return links.find(r); };
  std::vector<std::uint32_t> roots;
  for (std::uint32_t r = 0; r < rows; ++r)
    if (find(r) == r) roots.push_back(r);
  Random(seed, 11).shuffle(roots);
  std::stable_sort(roots.begin(), roots.end(),
                   [&](std::uint32_t a, std::uint32_t b) { return links.size(a) > links.size(b); });
  std::vector<std::size_t> filled(static_cast<std::size_t>(folds), 0);
  std::vector<std::uint32_t> fold_of_root(rows, 0);
  for (std::uint32_t root : roots) {  // largest first into the emptiest fold
    const auto fold = static_cast<std::size_t>(std::min_element(filled.begin(), filled.end()) - filled.begin());
    fold_of_root[root] = static_cast<std::uint32_t>(fold);
    filled[fold] += links.size(root);
  }
  for (std::uint32_t r = 0; r < rows; ++r) result.fold.push_back(fold_of_root[find(r)]);
  return result;
}

/// What the groups say about each row, as features of the out-of-fold model: honest labels of earlier fakes then teach
/// it what campaigns look like. Built without looking at labels.
constexpr std::size_t group_features = 6;
Tensor<float> describe_groups(const Dataset& data, const RowGroups& copies, const RowGroups& bursts,
                              const RowGroups& sources) {
  Tensor<float> x({data.rows(), group_features});
  const auto grown = [](std::size_t n) { return std::log2(1.0f + static_cast<float>(n)); };
  for (const auto& group : copies) {
    std::set<std::int32_t> authors;
    for (std::uint32_t r : group)
      if (!data.sources().empty()) authors.insert(data.sources()[r]);
    for (std::uint32_t r : group) x(r, 0) = grown(group.size()), x(r, 1) = grown(authors.size());
  }
  for (const auto& group : bursts)
    for (std::uint32_t r : group) x(r, 2) = std::max(x(r, 2), grown(group.size()));
  for (const auto& group : sources) {
    float copied = 0, bursting = 0;
    for (std::uint32_t r : group) copied += x(r, 0), bursting += x(r, 2);
    const auto rows = static_cast<float>(group.size());
    for (std::uint32_t r : group) x(r, 3) = rows, x(r, 4) = copied / rows, x(r, 5) = bursting / rows;
  }
  return x;
}

/// The two matrices side by side.
Tensor<float> beside(const Tensor<float>& left, const Tensor<float>& right) {
  Tensor<float> both({left.rows(), left.cols() + right.cols()});
  for (std::size_t r = 0; r < left.rows(); ++r)
    std::copy(right.row(r).begin(), right.row(r).end(),
              std::copy(left.row(r).begin(), left.row(r).end(), both.row(r).begin()));
  return both;
}

/// Log odds of every class by a linear model that did not see the row: what trees miss of words, which are many and
/// each of them rare. Zeros if some fold could not be trained.
Tensor<float> linear_log_odds(const Dataset& data, const Folds& folds, const ScreenOptions& options) {
  const std::size_t classes = data.classes().size();
  // The encoded words are held in dense rows for a while.
  constexpr std::size_t most_cells = std::size_t{1} << 27, most_dims = 16384;
  LogisticRegressionOptions linear;
  linear.seed = options.seed;
  linear.arena = options.arena;
  linear.encoder.text_ngrams = 1;
  linear.encoder.text_dims = std::clamp(std::bit_floor(most_cells / data.rows()), options.text_dims, most_dims);
  Tensor<float> odds({data.rows(), classes});
  for (int f = 0; f < options.folds; ++f) {
    std::vector<std::size_t> inside, outside;
    std::set<std::int32_t> seen;
    for (std::size_t r = 0; r < data.rows(); ++r) {
      if (folds.fold[r] == static_cast<std::uint32_t>(f)) {
        outside.push_back(r);
      } else if (folds.weight[r] > 0 && data.labels()[r] >= 0) {
        inside.push_back(r);
        seen.insert(data.labels()[r]);
      }
    }
    if (outside.empty() || seen.size() < 2) continue;
    const Model model = LogisticRegression{linear}.fit(data.take(inside));
    const Tensor<float> p = detail::aligned_outputs(model, data.take(outside), options.arena);
    for (std::size_t i = 0; i < outside.size(); ++i)
      for (std::size_t c = 0; c < classes; ++c) odds(outside[i], c) = std::log(std::max(p(i, c), 1e-6f));
  }
  return odds;
}

/// rows x classes; empty (0 rows) if some fold could not be trained.
Tensor<float> out_of_fold(const Dataset& data, MatrixView<const float> x,
                          std::span<const std::uint32_t> category_counts, const Folds& folds,
                          const ScreenOptions& options) {
  TreeTarget y = TreeTarget::of(data);
  std::vector<double> weights = folds.weight;
  for (std::size_t r = 0; r < y.weights.size(); ++r) weights[r] *= y.weights[r];
  y.weights = weights;
  const auto& fold = folds.fold;
  const BinnedMatrix binned(x, category_counts, {.seed = options.seed, .arena = options.arena});
  const GradientBoosting boosting{{.trees = options.trees,
                                   .learning_rate = std::min(1.0, 6.0 / options.trees),
                                   .max_leaves = 16,
                                   .min_leaf_rows = 10,
                                   .l2 = 1.0,
                                   .seed = options.seed,
                                   .arena = options.arena}};
  Tensor<float> probabilities({data.rows(), y.classes});
  for (int f = 0; f < options.folds; ++f) {
    std::vector<std::uint32_t> inside, outside;
    std::vector<std::size_t> seen(y.classes, 0);
    for (std::uint32_t r = 0; r < fold.size(); ++r) {
      (fold[r] == static_cast<std::uint32_t>(f) ? outside : inside).push_back(r);
      if (fold[r] != static_cast<std::uint32_t>(f) && y.labels[r] >= 0) ++seen[static_cast<std::size_t>(y.labels[r])];
    }
    if (outside.empty()) continue;
    if (std::count_if(seen.begin(), seen.end(), [](std::size_t n) { return n > 0; }) < 2) return Tensor<float>({0, 0});
    const auto forest = boosting.fit_binned(binned, y, inside);
    Tensor<float> rows({outside.size(), x.cols()}), out({outside.size(), y.classes});
    for (std::size_t i = 0; i < outside.size(); ++i)
      std::copy_n(x.row(outside[i]).data(), x.cols(), rows.row(i).data());
    forest->predict_batch(rows, out, options.arena);
    for (std::size_t i = 0; i < outside.size(); ++i)
      std::copy_n(out.row(i).data(), y.classes, probabilities.row(outside[i]).data());
    if (options.progress)
      options.progress->update("screen", static_cast<std::size_t>(f) + 1, static_cast<std::size_t>(options.folds));
  }
  return probabilities;
}

void check_options(const ScreenOptions& o) {
  const auto require = [](bool ok, const char* name, const auto& value, const char* range) {
    if (!ok)
      detail::fail(errc::invalid_argument, fmt::format("ScreenOptions::{} is {}; it must be {}", name, value, range));
  };
  require(o.folds >= 2 && o.folds <= 50, "folds", o.folds, "in [2, 50]");
  require(o.trees >= 1 && o.trees <= 10000, "trees", o.trees, "in [1, 10000]");
  require(o.sure > 0 && o.sure < 0.5, "sure", o.sure, "in (0, 0.5)");
  require(o.false_discovery_rate > 0 && o.false_discovery_rate < 1, "false_discovery_rate", o.false_discovery_rate,
          "in (0, 1)");
  for (const AnyCheck& check : o.checks)
    if (check.stage() != Stage::pre_train && check.stage() != Stage::ingest)
      detail::fail(
          errc::invalid_argument,
          fmt::format("ScreenOptions::checks: '{}' is for the {} stage; a screen runs pre_train and ingest checks",
                      check.id(), to_string(check.stage())));
}

/// Evidence per row, summed.
class RowEvidence {
 public:
  explicit RowEvidence(const Dataset& data) : data_(data), scores_(data.rows(), 0.0) {
    for (std::uint32_t r = 0; r < data.rows(); ++r) position_.emplace(data.row_ids()[r], r);
  }
  void add(std::uint32_t row, double points) { scores_[row] += points; }
  /// Findings about rows, or about all rows of a source.
  void add(const Verdict& verdict, double weight) {
    for (const Finding& f : verdict.findings) {
      const double points = weight * std::clamp(f.score, 0.0, 1.0);
      if (f.row != no_row) {
        if (const auto found = position_.find(f.row); found != position_.end()) scores_[found->second] += points;
      } else if (!f.source.empty()) {
        for (std::uint32_t r = 0; r < data_.sources().size(); ++r)
          if (data_.sources()[r] >= 0 && data_.source_names()[static_cast<std::size_t>(data_.sources()[r])] == f.source)
            scores_[r] += points;
      }
    }
  }
  std::vector<double> take() { return std::move(scores_); }

 private:
  const Dataset& data_;
  std::vector<double> scores_;
  std::unordered_map<RowId, std::uint32_t> position_;
};

/// Which groups have at least this share of flagged rows, and more than chance explains.
std::vector<std::size_t> guilty_groups(const RowGroups& groups, std::span<const std::uint8_t> flagged, double rate,
                                       double share) {
  std::vector<detail::GroupCount> counts(groups.size());
  for (std::size_t g = 0; g < groups.size(); ++g)
    for (std::uint32_t r : groups[g]) counts[g].add(flagged[r] != 0);
  const auto tests = detail::test_groups(counts);
  std::vector<std::size_t> guilty;
  for (std::size_t g = 0; g < groups.size(); ++g)
    if (tests[g].q_value <= rate &&
        static_cast<double>(counts[g].flagged) >= share * static_cast<double>(counts[g].rows))
      guilty.push_back(g);
  return guilty;
}

/// P(at least `least` of some independent events), each with a probability of its own.
double tail_of(std::span<const double> chances, std::size_t least) {
  std::vector<double> count(chances.size() + 1, 0.0);  // P(so many of the events so far)
  count[0] = 1;
  for (std::size_t i = 0; i < chances.size(); ++i)
    for (std::size_t k = i + 2; k-- > 0;)
      count[k] = count[k] * (1 - chances[i]) + (k > 0 ? count[k - 1] * chances[i] : 0);
  double sum = 0;
  for (std::size_t k = chances.size() + 1; k-- > least;) sum += count[k];
  return std::min(1.0, sum);
}

/// A source and what its rows of one label say about it.
struct OneSided {
  std::size_t source;
  SourceSuspicion suspicion;  // without the name
};

/// Sources most of whose rows bear one label that the model would rather not give them, and more of them than its
/// probabilities explain. Each source is small evidence, but it is tested by its own rows and not by a rate of doubt
/// among all, so that four rows can be enough where the model is sure.
std::vector<OneSided> one_sided_sources(const Dataset& data, const RowGroups& sources,
                                        MatrixView<const float> probabilities, double rate) {
  const auto labels = data.labels();
  constexpr double honest_error = 0.02;    // no label is less likely than a slip
  constexpr std::size_t most_rows = 1000;  // of a source: more would only cost time
  const std::size_t classes = probabilities.cols();
  std::vector<std::size_t> own(classes);
  std::vector<OneSided> tested;
  std::vector<double> p_values, chances;
  for (std::size_t s = 0; s < sources.size(); ++s) {
    std::vector<std::uint32_t> rows;
    for (const std::uint32_t r : sources[s])
      if (labels[r] >= 0 && rows.size() < most_rows) rows.push_back(r);
    if (rows.empty()) continue;
    std::fill(own.begin(), own.end(), 0);
    for (const std::uint32_t r : rows) {
      const auto p = probabilities.row(r);
      own[static_cast<std::size_t>(labels[r])] +=
          *std::max_element(p.begin(), p.end()) > p[static_cast<std::size_t>(labels[r])];
    }
    const auto label = std::max_element(own.begin(), own.end()) - own.begin();
    tested.push_back({s, {}});
    tested.back().suspicion.rows = rows.size();
    p_values.push_back(1);
    if (static_cast<double>(own[static_cast<std::size_t>(label)]) < mostly * static_cast<double>(rows.size())) continue;
    chances.clear();
    std::size_t given = 0;
    for (const std::uint32_t r : rows) {
      chances.push_back(
          std::clamp<double>(probabilities(r, static_cast<std::size_t>(label)), honest_error, 1 - honest_error));
      given += labels[r] == label;
    }
    p_values.back() = std::min(1.0, static_cast<double>(classes) * tail_of(chances, given));
    SourceSuspicion& found = tested.back().suspicion;
    found.suspicious = given;
    found.label = data.classes()[static_cast<std::size_t>(label)];
    for (const double chance : chances) found.expected += chance;
    found.p_value = p_values.back();
    found.score =
        std::clamp((static_cast<double>(given) - found.expected) / static_cast<double>(rows.size()), 0.0, 1.0);
  }
  const auto q_values = benjamini_hochberg(p_values);
  for (std::size_t i = 0; i < tested.size(); ++i) tested[i].suspicion.q_value = q_values[i];
  std::erase_if(tested, [&](const OneSided& s) { return s.suspicion.q_value > rate; });
  return tested;
}

/// Rows of a set whose sources speak there several times and hardly anywhere else: honest events bring many people
/// once.
std::vector<std::uint32_t> devoted_rows(const Dataset& data, std::span<const std::uint32_t> set,
                                        const RowGroups& sources, std::size_t* devoted_sources) {
  constexpr std::size_t several = 3;
  std::map<std::int32_t, std::size_t> here;
  if (!sources.empty())
    for (const std::uint32_t r : set) ++here[data.sources()[r]];
  here.erase(-1);
  std::erase_if(here, [&](const auto& source) {
    const std::size_t all = sources[static_cast<std::size_t>(source.first)].size();
    return source.second < several || static_cast<double>(source.second) < mostly * static_cast<double>(all);
  });
  *devoted_sources = here.size();
  std::vector<std::uint32_t> rows;
  for (const std::uint32_t r : set)
    if (!here.empty() && here.count(data.sources()[r]) > 0) rows.push_back(r);
  return rows;
}

Verdict source_verdict(const Dataset& data, const std::vector<SourceSuspicion>& sources,
                       const std::vector<std::string>& blocked) {
  Verdict verdict;
  verdict.check = "source_suspicion";
  verdict.stage = Stage::pre_train;
  verdict.outcome = blocked.empty() ? Outcome::pass : Outcome::block;
  for (const SourceSuspicion& s : sources) {
    if (std::find(blocked.begin(), blocked.end(), s.source) == blocked.end()) continue;
    const std::string what = s.label.empty() ? "are suspicious" : fmt::format("bear the label '{}'", s.label);
    verdict.findings.push_back({no_row, s.source, s.score,
                                fmt::format("{} of {} rows {}, {:.1f} expected (q = {:.2g})", s.suspicious, s.rows,
                                            what, s.expected, s.q_value)});
  }
  verdict.score = sources.empty() ? 0 : static_cast<double>(blocked.size()) / static_cast<double>(sources.size());
  verdict.summary =
      fmt::format("{} of {} sources supply mostly suspicious rows", blocked.size(), data.source_names().size());
  return verdict;
}

}  // namespace

ScreenReport screen(const Dataset& data, const ScreenOptions& options) {
  check_options(options);
  if (data.rows() > 0) data.require_trainable(false);
  const auto start = std::chrono::steady_clock::now();
  ScreenReport report;
  report.row_ids_.assign(data.row_ids().begin(), data.row_ids().end());
  const auto rows = static_cast<std::uint32_t>(data.rows());
  const bool classifies = data.task() == Task::classification;

  Batch batch;
  batch.data = &data;
  batch.arena = options.arena;
  Tensor<float> features, probabilities({0, 0}), unexcused({0, 0});
  RowGroups copies, bursts, campaigns;
  const RowGroups sources = source_groups(data);
  if (rows > 0) {
    copies = copy_groups(data, options);
    bursts = burst_groups(data, options, true);
    if (!data.schema().features().empty()) {
      EncoderOptions encoding = EncoderOptions::for_trees();
      encoding.text_dims = options.text_dims;
      const Encoder encoder = Encoder::fit(data, encoding);
      features = encoder.apply(data, options.arena);
      batch.features = features;
      if (classifies && rows >= static_cast<std::uint32_t>(options.folds)) {
        const RowGroups tied = burst_groups(data, options, false);
        const Folds folds = linked_folds(rows, copies, tied, sources, options.folds, options.seed);
        Tensor<float> alone = features;
        if (encoder.has_text()) alone = beside(alone, linear_log_odds(data, folds, options));
        auto alone_counts = encoder.category_counts();
        alone_counts.resize(alone.cols(), 0);
        const Tensor<float> described = beside(alone, describe_groups(data, copies, tied, sources));
        auto counts = alone_counts;
        counts.resize(described.cols(), 0);
        probabilities = out_of_fold(data, described, counts, folds, options);
        batch.probabilities = probabilities;
        // What groups look like may also excuse: accounts of a campaign are of one kind, and those in other folds bear
        // the label that they should not. Once more by what the rows say alone.
        if (!sources.empty()) unexcused = out_of_fold(data, alone, alone_counts, folds, options);
        campaigns = folds.campaigns;
      }
    }
  }

  // Row evidence.
  RowEvidence evidence(data);
  const auto run = [&](const AnyCheck& check, double weight) -> const Verdict& {
    report.verdicts_.push_back(check.run(batch));
    evidence.add(report.verdicts_.back(), weight);
    return report.verdicts_.back();
  };
  run(ConfidentLearning{}, 0);
  run(Duplicates{.options = options.duplicates}, supporting_weight);
  run(Bursts{.options = options.bursts}, supporting_weight);
  run(Outliers{.seed = options.seed}, outlier_weight);
  run(Lockstep{.options = {.seed = options.seed}, .data_ = {}}, warning_weight);
  run(RatingShifts{}, supporting_weight);
  std::vector<std::uint8_t> doubted(rows, 0);  // the model would rather give the row another label
  if (batch.probabilities.rows() > 0) {
    const auto issues = confident_learning(batch.probabilities, data.labels());
    for (std::uint32_t r : issues.flagged)
      evidence.add(r, std::min(1.0, (1 - issues.self_confidence[r]) / (1 - options.sure)));
    for (std::uint32_t r = 0; r < rows; ++r) {
      const auto p = probabilities.row(r);
      doubted[r] = data.labels()[r] >= 0 &&
                   *std::max_element(p.begin(), p.end()) > p[static_cast<std::size_t>(data.labels()[r])];
    }
  }
  for (const AnyCheck& check : options.checks) {
    report.verdicts_.push_back(check.run(batch));
    const Verdict& verdict = report.verdicts_.back();
    // A block is the check's own word that these rows should go.
    if (verdict.outcome == Outcome::block)
      for (const Finding& f : verdict.findings) {
        Verdict one;
        one.findings = {f};
        one.findings[0].score = 1;
        evidence.add(one, 1);
      }
    else
      evidence.add(verdict, warning_weight);
  }

  // Groups as wholes.
  // A guilty group takes its rows along. A burst also holds honest rows that happened to come then: of it only rows
  // that are doubted or copied themselves go.
  std::vector<std::uint8_t> suspicious = doubted, copied(rows, 0);
  for (const auto& group : copies) {
    std::set<std::int32_t> authors;
    for (std::uint32_t r : group)
      if (!data.sources().empty()) authors.insert(data.sources()[r]);
    if (group.size() >= 3 && (authors.empty() || authors.size() >= 2))
      for (std::uint32_t r : group) copied[r] = 1;
  }
  // A large set of linked bursting rows, most of them copies of each other by several sources, is a campaign whatever
  // the model thinks of its labels.
  for (const auto& set : campaigns) {
    const auto copies_in = std::count_if(set.begin(), set.end(), [&](std::uint32_t r) { return copied[r]; });
    if (static_cast<double>(copies_in) < mostly * static_cast<double>(set.size())) continue;
    for (std::uint32_t r : set)
      if (doubted[r] || copied[r]) suspicious[r] = 1, evidence.add(r, 1);
  }
  // So is a burst that is mostly the work of several sources that do nothing else.
  for (const RowGroups* groups : {&bursts, &campaigns})
    for (const auto& set : *groups) {
      std::size_t devoted_sources = 0;
      const auto devoted = devoted_rows(data, set, sources, &devoted_sources);
      if (devoted_sources < 3 || static_cast<double>(devoted.size()) < mostly * static_cast<double>(set.size()))
        continue;
      for (const std::uint32_t r : devoted) suspicious[r] = 1, evidence.add(r, 1);
    }
  for (std::size_t g : guilty_groups(copies, doubted, options.false_discovery_rate, campaign))
    for (std::uint32_t r : copies[g]) suspicious[r] = 1, evidence.add(r, 1);
  for (const RowGroups* groups : {&bursts, &campaigns})
    for (std::size_t g : guilty_groups(*groups, doubted, options.false_discovery_rate, campaign))
      for (std::uint32_t r : (*groups)[g])
        if (doubted[r] || copied[r]) suspicious[r] = 1, evidence.add(r, 1);
  if (data.schema().find(ColumnRole::source) == Schema::npos || rows == 0) {
    report.verdicts_.push_back(
        Verdict::abstain("source_suspicion", Stage::pre_train,
                         rows == 0 ? "there are no rows to look at" : "needs sources, which is not available here"));
  } else if (batch.probabilities.rows() == 0) {
    report.verdicts_.push_back(
        Verdict::abstain("source_suspicion", Stage::pre_train, "needs probabilities, which is not available here"));
  } else {
    for (std::size_t g : guilty_groups(sources, suspicious, options.false_discovery_rate, mostly)) {
      report.blocked_sources_.push_back(data.source_names()[g]);
      for (std::uint32_t r : sources[g]) evidence.add(r, 1);
    }
    std::map<std::string, SourceSuspicion> by_label;  // blocked by the test of one label alone
    if (unexcused.rows() > 0) {
      std::vector<std::uint8_t> unlikely(rows, 0);
      for (std::uint32_t r = 0; r < rows; ++r) {
        const auto p = unexcused.row(r);
        unlikely[r] = data.labels()[r] >= 0 &&
                      *std::max_element(p.begin(), p.end()) > p[static_cast<std::size_t>(data.labels()[r])];
      }
      for (OneSided& found : one_sided_sources(data, sources, unexcused, options.false_discovery_rate)) {
        const std::size_t g = found.source;
        const std::string& name = data.source_names()[g];
        const auto& known = report.blocked_sources_;
        if (std::find(known.begin(), known.end(), name) != known.end()) continue;
        report.blocked_sources_.push_back(name);
        for (std::uint32_t r : sources[g]) evidence.add(r, 1), suspicious[r] |= unlikely[r];
        found.suspicion.source = name;
        by_label.emplace(name, std::move(found.suspicion));
      }
    }
    report.sources_ = source_suspicion(data, suspicious);
    // These show the numbers of the test that blocked them.
    for (SourceSuspicion& s : report.sources_)
      if (const auto found = by_label.find(s.source); found != by_label.end()) s = found->second;
    std::stable_sort(report.sources_.begin(), report.sources_.end(), detail::more_suspicious);
    report.verdicts_.push_back(source_verdict(data, report.sources_, report.blocked_sources_));
  }

  report.row_scores_ = evidence.take();
  Verdict total;
  total.check = "screen";
  total.stage = Stage::pre_train;
  for (std::uint32_t r = 0; r < rows; ++r)
    if (report.row_scores_[r] >= 1) report.blocked_.push_back(data.row_ids()[r]);
  const bool looked = std::any_of(report.verdicts_.begin(), report.verdicts_.end(),
                                  [](const Verdict& v) { return v.outcome != Outcome::abstain; });
  total.outcome = !looked ? Outcome::abstain : report.blocked_.empty() ? Outcome::pass : Outcome::block;
  total.score = rows == 0 ? 0 : static_cast<double>(report.blocked_.size()) / rows;
  total.summary = !looked ? "every check abstained"
                          : fmt::format("{} of {} rows and {} sources should not be trained on", report.blocked_.size(),
                                        rows, report.blocked_sources_.size());
  total.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  report.verdicts_.insert(report.verdicts_.begin(), std::move(total));
  return report;
}

Outcome ScreenReport::outcome() const noexcept { return worst(verdicts_); }

const Verdict& ScreenReport::verdict(std::string_view check) const {
  std::string known;
  for (const Verdict& v : verdicts_) {
    if (v.check == check) return v;
    known += (known.empty() ? "" : ", ") + v.check;
  }
  detail::fail(errc::not_found, fmt::format("no check '{}' in this report; it has {}", check, known));
}

void ScreenReport::set_calibration(std::string_view check, std::vector<Calibration> calibration) {
  for (Verdict& v : verdicts_)
    if (v.check == check) v.calibration = std::move(calibration);
}

std::string ScreenReport::to_json(bool with_cost) const {
  using Json = nlohmann::json;
  Json sources = Json::array();
  for (const SourceSuspicion& s : sources_) sources.push_back(detail::source_json(s));
  Json verdicts = Json::array();
  for (const Verdict& v : verdicts_) verdicts.push_back(Json::parse(v.to_json(with_cost)));
  const Json report = {{"rows", rows()},
                       {"outcome", to_string(outcome())},
                       {"blocked", blocked_},
                       {"blocked_sources", blocked_sources_},
                       {"sources", std::move(sources)},
                       {"verdicts", std::move(verdicts)}};
  return report.dump(-1, ' ', false, Json::error_handler_t::replace);
}

std::ostream& operator<<(std::ostream& stream, const ScreenReport& report) {
  constexpr std::size_t shown = 8;
  stream << fmt::format("Screen of {} rows: {} blocked", report.rows(), report.blocked().size());
  if (!report.sources().empty())
    stream << fmt::format(", {} of {} sources blocked", report.blocked_sources().size(), report.sources().size());
  stream << '\n';
  for (const Verdict& v : report.verdicts()) {
    stream << fmt::format("  {:<8} {:<20} {}\n", to_string(v.outcome), v.check, v.summary);
    for (const Calibration& c : v.calibration)
      stream << fmt::format(
          "           measured on {} planted rows ({}): recall {:.2f} at false-positive rate {:.4f}\n", c.positives,
          c.planted, c.recall, c.false_positive_rate);
  }
  if (report.verdicts().empty() || report.verdicts().front().calibration.empty())
    stream << "  not calibrated: how much poison this screen finds in this data is unknown (see calibrate)\n";
  if (!report.sources().empty()) {
    stream << fmt::format("  {:<24} {:>6} {:>10} {:>9} {:>9}\n", "source", "rows", "suspicious", "expected", "q");
    for (std::size_t i = 0; i < std::min(shown, report.sources().size()); ++i) {
      const SourceSuspicion& s = report.sources()[i];
      stream << fmt::format("  {:<24} {:>6} {:>10} {:>9.1f} {:>9.2g}\n", s.source, s.rows, s.suspicious, s.expected,
                            s.q_value);
    }
  }
  return stream;
}

}  // namespace redoubt
