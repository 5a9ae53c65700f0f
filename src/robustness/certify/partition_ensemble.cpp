#include "redoubt/robustness/certify/partition_ensemble.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <ostream>

#include "redoubt/core/error.hpp"
#include "redoubt/core/hash.hpp"
#include "redoubt/core/parallel.hpp"
#include "redoubt/core/tensor.hpp"
#include "redoubt/data/dataset.hpp"
#include "redoubt/model/model.hpp"
#include "robustness/certify/election.hpp"

namespace redoubt {
namespace {

constexpr std::size_t floats_at_once = std::size_t{1} << 24;  // 64 MiB

struct Part {
  std::string hash;   // of its rows
  Model model;        // empty where there is nothing to tell apart
  std::string label;  // then its vote; "" for none
};

/// A number of the row's content and the key only.
std::uint64_t group_hash(const Dataset& data, std::size_t row, const PartitionOptions& options) {
  if (options.by_source && data.sources()[row] >= 0)
    return hash64(data.source_names()[static_cast<std::size_t>(data.sources()[row])], options.key ^ 0x736f75726365ull);
  const std::uint64_t features = data.feature_hash(row);
  return hash64(std::as_bytes(std::span(&features, 1)), options.key);
}

/// Codes by the names that occur, in their order.
void sort_categories(Column& column) {
  std::vector<std::int32_t> used(column.spec.categories.size(), -1);
  std::vector<std::size_t> order;
  for (const std::int32_t code : column.codes)
    if (code >= 0 && used[static_cast<std::size_t>(code)] < 0) {
      used[static_cast<std::size_t>(code)] = 0;
      order.push_back(static_cast<std::size_t>(code));
    }
  std::sort(order.begin(), order.end(),
            [&](std::size_t a, std::size_t b) { return column.spec.categories[a] < column.spec.categories[b]; });
  std::vector<std::string> names;
  for (const std::size_t code : order) {
    used[code] = static_cast<std::int32_t>(names.size());
    names.push_back(column.spec.categories[code]);
  }
  for (std::int32_t& code : column.codes)
    if (code >= 0) code = used[static_cast<std::size_t>(code)];
  column.spec.categories = std::move(names);
}

/// What models are trained on, in an order that does not depend on anything outside: rows by content.
Dataset canonical(const Dataset& data, const std::vector<std::size_t>& rows) {
  std::vector<std::string> keys;
  for (const std::size_t r : rows) {
    std::string key;
    for (std::size_t c = 0; c < data.cols(); ++c) {
      const Column& column = data.column(c);
      if (column.spec.role != ColumnRole::feature && column.spec.role != ColumnRole::target &&
          column.spec.role != ColumnRole::weight)
        continue;
      const std::string text = column.to_text(r);
      key += fmt::format("{}:{}", text.size(), text);
    }
    keys.push_back(std::move(key));
  }
  std::vector<std::size_t> order(rows.size());
  std::iota(order.begin(), order.end(), 0u);
  std::stable_sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) { return keys[a] < keys[b]; });
  std::vector<std::size_t> sorted;
  for (const std::size_t i : order) sorted.push_back(rows[i]);
  std::vector<Column> columns;
  for (std::size_t c = 0; c < data.cols(); ++c) {
    const ColumnRole role = data.column(c).spec.role;
    if (role != ColumnRole::feature && role != ColumnRole::target && role != ColumnRole::weight) continue;
    columns.push_back(data.column(c).take(sorted));
    if (columns.back().spec.type == ColumnType::categorical) sort_categories(columns.back());
  }
  return Dataset(std::move(columns));
}

/// A model that knew more than its rows would not change with them alone.
void require_classes(const Model& model, const Dataset& shard) {
  if (model.classes().empty())
    detail::fail(errc::invalid_argument, "PartitionEnsemble: `fit` returned a model without classes");
  for (const std::string& name : model.classes())
    if (std::find(shard.classes().begin(), shard.classes().end(), name) == shard.classes().end())
      detail::fail(errc::invalid_argument,
                   fmt::format("PartitionEnsemble: `fit` returned a model of class '{}', of which its partition has no "
                               "rows",
                               name));
}

}  // namespace

struct PartitionEnsemble::State {
  PartitionOptions options;
  std::vector<std::string> classes;
  std::vector<Part> parts;
  std::size_t trained = 0;

  std::uint32_t class_at(const std::string& name) const {
    const auto at = std::lower_bound(classes.begin(), classes.end(), name);
    return static_cast<std::uint32_t>(at != classes.end() && *at == name ? at - classes.begin()
                                                                         : static_cast<std::ptrdiff_t>(classes.size()));
  }

  /// What every model says of every row.
  struct Ballots {
    /// [row * parts + part]: index into classes, or classes.size() for no vote.
    std::vector<std::uint32_t> votes;
    /// [row * parts + part] x classes, 0 where a model does not know the class; if they are asked for.
    Tensor<float> scores;
  };
  Ballots ballots(const Dataset& data, bool with_scores, Arena* arena) const {
    const std::size_t n = data.rows(), k = parts.size();
    Ballots result{std::vector<std::uint32_t>(n * k), {}};
    if (with_scores) result.scores = Tensor<float>({n * k, classes.size()});
    parallel_for(
        k, 1,
        [&](std::size_t begin, std::size_t end) {
          for (std::size_t p = begin; p < end; ++p) {
            if (!parts[p].model) {
              const std::uint32_t vote = class_at(parts[p].label);
              for (std::size_t r = 0; r < n; ++r) {
                result.votes[r * k + p] = vote;
                if (with_scores && vote < classes.size()) result.scores(r * k + p, vote) = 1;
              }
              continue;
            }
            Tensor<float> scores = parts[p].model.predict_proba(data);
            std::vector<std::uint32_t> known;
            for (const std::string& name : parts[p].model.classes()) known.push_back(class_at(name));
            for (std::size_t r = 0; r < n; ++r) {
              const auto row = scores.row(r);
              for (float& x : row) x = x > 0 ? x : 0;  // NaN is no opinion
              const auto top = static_cast<std::size_t>(std::max_element(row.begin(), row.end()) - row.begin());
              result.votes[r * k + p] = row[top] > 0 ? known[top] : static_cast<std::uint32_t>(classes.size());
              for (std::size_t c = 0; with_scores && c < known.size(); ++c) result.scores(r * k + p, known[c]) = row[c];
            }
          }
        },
        arena);
    return result;
  }
};

PartitionEnsemble PartitionEnsemble::build(const Dataset& data, Fit fit, const PartitionOptions& options,
                                           const State* before) {
  if (options.partitions < 1 || options.partitions > 100000)
    detail::fail(errc::invalid_argument,
                 fmt::format("PartitionOptions::partitions is {}; it must be in [1, 100000]", options.partitions));
  data.require_trainable();
  if (data.task() != Task::classification)
    detail::fail(errc::invalid_argument, "PartitionEnsemble: votes need class labels, the data has none");
  if (options.by_source && data.sources().empty())
    detail::fail(errc::invalid_argument, "PartitionEnsemble: by_source, but the data has no source column");

  State state;
  state.options = options;
  state.classes.assign(data.classes().begin(), data.classes().end());
  std::sort(state.classes.begin(), state.classes.end());
  state.parts.resize(options.partitions);
  std::vector<std::vector<std::size_t>> rows(options.partitions);
  for (std::size_t r = 0; r < data.rows(); ++r)
    if (data.labels()[r] >= 0) rows[group_hash(data, r, options) % options.partitions].push_back(r);

  std::vector<std::uint8_t> trained(options.partitions, 0);
  parallel_for(
      options.partitions, 1,
      [&](std::size_t begin, std::size_t end) {
        for (std::size_t p = begin; p < end; ++p) {
          Part& part = state.parts[p];
          const Dataset shard = canonical(data, rows[p]);
          part.hash = shard.hash();
          if (before && before->parts[p].hash == part.hash) {
            part = before->parts[p];
          } else if (shard.rows() > 0 && shard.classes().size() == 1) {
            part.label = shard.classes()[0];
          } else if (shard.rows() > 0) {
            part.model = fit(shard);
            require_classes(part.model, shard);
            trained[p] = 1;
          }
        }
      },
      options.arena);
  state.trained = static_cast<std::size_t>(std::count(trained.begin(), trained.end(), 1));
  PartitionEnsemble ensemble;
  ensemble.state_ = Shared<const State>::make(std::move(state));
  return ensemble;
}

PartitionEnsemble PartitionEnsemble::fit(const Dataset& data, Fit fit, const PartitionOptions& options) {
  return build(data, fit, options, nullptr);
}

PartitionEnsemble PartitionEnsemble::refit(const Dataset& data, Fit fit) const {
  return build(data, fit, state_->options, state_.get());
}

std::size_t PartitionEnsemble::partitions() const noexcept { return state_->parts.size(); }
std::size_t PartitionEnsemble::trained() const noexcept { return state_->trained; }
const std::vector<std::string>& PartitionEnsemble::classes() const noexcept { return state_->classes; }
const Model& PartitionEnsemble::model(std::size_t partition) const noexcept { return state_->parts[partition].model; }
const std::string& PartitionEnsemble::data_hash(std::size_t partition) const noexcept {
  return state_->parts[partition].hash;
}

std::size_t PartitionEnsemble::partition_of(const RowView& row) const {
  if (state_->options.by_source && row.dataset().sources().empty())
    detail::fail(errc::invalid_argument, "PartitionEnsemble: by_source, but the data has no source column");
  return group_hash(row.dataset(), row.index(), state_->options) % partitions();
}

std::vector<CertifiedPrediction> PartitionEnsemble::predict(const Dataset& data, PartitionVote vote,
                                                            Arena* arena) const {
  const std::size_t n = data.rows(), k = partitions(), classes = state_->classes.size();
  const bool scored = vote == PartitionVote::run_off;
  const std::size_t block =
      std::max<std::size_t>(1, scored ? floats_at_once / std::max(k * classes, 2 * data.cols()) : n);
  std::vector<CertifiedPrediction> result;
  result.reserve(n);
  for (std::size_t first = 0; first < n; first += block) {
    std::vector<std::size_t> rows(std::min(block, n - first));
    std::iota(rows.begin(), rows.end(), first);
    const auto ballots = state_->ballots(rows.size() == n ? data : data.take(rows), scored, arena);
    for (std::size_t r = 0; r < rows.size(); ++r) {
      const std::span<const std::uint32_t> votes = std::span(ballots.votes).subspan(r * k, k);
      const detail::Elected elected =
          scored ? detail::run_off(votes, MatrixView<const float>(ballots.scores).slice(r * k, (r + 1) * k))
                 : detail::majority(votes, classes);
      result.push_back({state_->classes[elected.winner], elected.votes, elected.runner_up, elected.tolerated});
    }
  }
  return result;
}

PartitionEvaluation PartitionEnsemble::evaluate(const Dataset& data, PartitionVote vote, Arena* arena) const {
  if (data.task() != Task::classification)
    detail::fail(errc::invalid_argument, "PartitionEnsemble::evaluate: the data has no class labels");
  const auto predictions = predict(data, vote, arena);
  PartitionEvaluation result;
  std::vector<std::size_t> tolerated;
  std::vector<std::size_t> at_least(partitions() / 2 + 1, 0);
  std::size_t right = 0;
  for (std::size_t r = 0; r < data.rows(); ++r) {
    const std::int32_t label = data.labels()[r];
    if (label < 0) continue;
    ++result.rows;
    const bool hit = predictions[r].label == data.classes()[static_cast<std::size_t>(label)];
    right += hit;
    tolerated.push_back(hit ? predictions[r].tolerated : 0);
    for (std::size_t t = 0; hit && t <= predictions[r].tolerated; ++t) ++at_least[t];
  }
  if (result.rows == 0)
    detail::fail(errc::invalid_argument, "PartitionEnsemble::evaluate: the data has no labelled rows");
  const double n = static_cast<double>(result.rows);
  result.accuracy = static_cast<double>(right) / n;
  for (const std::size_t count : at_least) result.certified.push_back(static_cast<double>(count) / n);
  const auto middle = tolerated.begin() + static_cast<std::ptrdiff_t>(tolerated.size() / 2);
  std::nth_element(tolerated.begin(), middle, tolerated.end());
  result.median_tolerated = *middle;
  return result;
}

std::vector<double> PartitionEnsemble::out_of_partition_agreement(const Dataset& data, Arena* arena) const {
  if (data.task() != Task::classification)
    detail::fail(errc::invalid_argument, "PartitionEnsemble: agreement needs class labels, the data has none");
  const std::size_t n = data.rows();
  const auto votes = state_->ballots(data, false, arena).votes;
  std::vector<double> result(n, std::numeric_limits<double>::quiet_NaN());
  for (std::size_t r = 0; r < n; ++r) {
    const std::int32_t label = data.labels()[r];
    if (label < 0) continue;
    const std::string& name = data.classes()[static_cast<std::size_t>(label)];
    const std::size_t own = partition_of(data.row(r));
    std::size_t agree = 0, voted = 0;
    for (std::size_t p = 0; p < partitions(); ++p) {
      const std::uint32_t vote = votes[r * partitions() + p];
      if (p == own || vote == state_->classes.size()) continue;
      ++voted;
      agree += state_->classes[vote] == name;
    }
    if (voted > 0) result[r] = static_cast<double>(agree) / static_cast<double>(voted);
  }
  return result;
}

std::ostream& operator<<(std::ostream& stream, const PartitionEvaluation& evaluation) {
  stream << fmt::format("accuracy {:.4f} on {} rows, median tolerance {}\n  changes  right and certified\n",
                        evaluation.accuracy, evaluation.rows, evaluation.median_tolerated);
  const std::size_t step = std::max<std::size_t>(1, evaluation.certified.size() / 8);
  for (std::size_t r = 0; r < evaluation.certified.size(); r += step)
    stream << fmt::format("  {:>7}  {:.4f}\n", r, evaluation.certified[r]);
  return stream;
}

}  // namespace redoubt
