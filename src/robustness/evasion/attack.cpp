#include "redoubt/robustness/evasion/attack.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <numeric>

#include "redoubt/core/error.hpp"
#include "redoubt/core/parallel.hpp"
#include "redoubt/core/random.hpp"
#include "redoubt/data/encoder.hpp"
#include "redoubt/model/predictor.hpp"
#include "robustness/evasion/attack_block.hpp"

namespace redoubt {
namespace {

void check_options(const AttackOptions& options, std::size_t inputs, std::size_t rows, std::size_t labels,
                   std::size_t cols) {
  if (cols != inputs && rows > 0)
    detail::fail(errc::shape_mismatch, fmt::format("attack: rows of {} columns, the model takes {}", cols, inputs));
  if (labels != rows) detail::fail(errc::shape_mismatch, fmt::format("attack: {} rows and {} labels", rows, labels));
  if (!options.rules.empty() && options.rules.size() != inputs)
    detail::fail(errc::shape_mismatch, fmt::format("attack: {} rules for {} columns", options.rules.size(), inputs));
  const auto require = [](bool ok, const char* what) {
    if (!ok) detail::fail(errc::invalid_argument, fmt::format("AttackOptions: {}", what));
  };
  require(options.radius >= 0 && std::isfinite(options.radius), "radius must be finite and at least 0");
  require(options.steps >= 1 && options.restarts >= 1, "steps and restarts must be at least 1");
  require(options.step >= 0 && std::isfinite(options.step), "step must be finite and at least 0");
  require(options.channels >= 1, "channels must be at least 1");
  require(options.image_width == 0 || inputs % (options.image_width * options.channels) == 0,
          "image_width times channels must divide the columns");
  for (const FeatureRule& r : options.rules)
    require(r.unit > 0 && std::isfinite(r.unit) && r.lower <= r.upper,
            "the unit of a rule must be finite and above 0, its lower bound at most the upper one");
}

/// Rows that one thread attacks together. Many leave early, and products with the few that are left of a small block
/// would take as long to read the weights as those with many; what a row becomes does not depend on the others.
std::size_t block_rows(std::size_t rows, std::size_t cols, Arena* arena) {
  constexpr std::size_t least = 64, most = 256, values = 512 * 1024;
  const auto threads = static_cast<std::size_t>((arena ? *arena : Arena::default_arena()).threads());
  const std::size_t fits = std::clamp(values / std::max<std::size_t>(cols, 1), least, most);
  return std::clamp((rows + threads - 1) / threads, least, fits);
}

}  // namespace

const char* to_string(AttackMethod method) noexcept {
  switch (method) {
    case AttackMethod::fgsm: return "fgsm";
    case AttackMethod::pgd: return "pgd";
    case AttackMethod::apgd_ce: return "apgd_ce";
    case AttackMethod::apgd_dlr: return "apgd_dlr";
    case AttackMethod::apgd_targeted: return "apgd_targeted";
    case AttackMethod::square: return "square";
    case AttackMethod::leaf_tuple: return "leaf_tuple";
    case AttackMethod::hop_skip_jump: return "hop_skip_jump";
  }
  return "unknown";
}

double AttackResult::robust_accuracy() const noexcept {
  if (broken.empty()) return 0;
  return 1 - static_cast<double>(std::count(broken.begin(), broken.end(), 1)) / static_cast<double>(broken.size());
}

std::vector<FeatureRule> encoded_rules(const Encoder& encoder) {
  std::vector<FeatureRule> rules(encoder.width(), FeatureRule{.fixed = true});
  const std::vector<std::uint32_t> origins = encoder.origins();
  for (std::size_t c = 0; c < rules.size(); ++c) {
    const ColumnType type = encoder.schema()[origins[c]].type;
    if (type == ColumnType::numeric) rules[c].fixed = false;
    if (type == ColumnType::categorical && encoder.options().categorical == CategoricalEncoding::one_hot)
      rules[c] = {.group = static_cast<int>(origins[c]) + 1};
  }
  return rules;
}

AttackResult attack(const Predictor& model, MatrixView<const float> rows, std::span<const std::int32_t> labels,
                    const AttackOptions& options) {
  const std::size_t n = rows.rows(), d = model.inputs();
  check_options(options, d, n, labels.size(), rows.cols());
  for (std::size_t r = 0; r < n; ++r)
    if (labels[r] < 0 || static_cast<std::size_t>(labels[r]) >= model.outputs() || model.outputs() < 2)
      detail::fail(errc::invalid_argument,
                   fmt::format("attack: label {} of row {}, the model has {} classes", labels[r], r, model.outputs()));
  AttackResult result;
  result.rows = Tensor<float>({n, d});
  std::copy_n(rows.data(), n * d, result.rows.data());
  result.broken.assign(n, 0);
  const bool blind = options.method == AttackMethod::square || options.method == AttackMethod::hop_skip_jump ||
                     options.method == AttackMethod::leaf_tuple;
  const auto form = blind ? nullptr : detail::gradient_form(model);
  const std::size_t block = block_rows(n, d, options.arena), blocks = (n + block - 1) / block;
  std::vector<std::size_t> gradients(blocks, 0), queries(blocks, 0);
  parallel_for(
      blocks, 1,
      [&](std::size_t begin, std::size_t end) {
        for (std::size_t b = begin; b < end; ++b) {
          const std::size_t first = b * block, count = std::min(block, n - first);
          detail::AttackBlock work(model, form.get(), options, {rows.data() + first * d, count, d},
                                   labels.subspan(first, count), first);
          work.run({result.rows.data() + first * d, count, d}, std::span(result.broken).subspan(first, count));
          gradients[b] = work.gradients();
          queries[b] = work.queries();
        }
      },
      options.arena);
  result.gradients = std::accumulate(gradients.begin(), gradients.end(), std::size_t{0});
  result.queries = std::accumulate(queries.begin(), queries.end(), std::size_t{0});
  return result;
}

AttackResult attack_bundle(const Predictor& model, MatrixView<const float> rows, std::span<const std::int32_t> labels,
                           const AttackOptions& options) {
  AttackResult result;
  std::vector<std::size_t> left(rows.rows());
  std::iota(left.begin(), left.end(), 0u);
  const std::size_t d = rows.cols();
  for (const AttackMethod method : {AttackMethod::apgd_ce, AttackMethod::apgd_targeted, AttackMethod::square}) {
    AttackOptions with = options;
    with.method = method;
    if (method == AttackMethod::square) {
      with.steps = 50 * options.steps;
    } else {
      with.restarts = 2 * options.restarts;  // a single random start misses one row in some hundreds
    }
    Tensor<float> some({left.size(), d});
    std::vector<std::int32_t> some_labels;
    for (std::size_t i = 0; i < left.size(); ++i) {
      std::copy_n(rows.data() + left[i] * d, d, some.data() + i * d);
      some_labels.push_back(labels[left[i]]);
    }
    AttackResult part = attack(model, some, some_labels, with);
    result.gradients += part.gradients;
    result.queries += part.queries;
    if (method == AttackMethod::apgd_ce) {
      result.rows = part.rows;
      result.broken = part.broken;
    }
    std::vector<std::size_t> unbroken;
    for (std::size_t i = 0; i < left.size(); ++i) {
      if (!part.broken[i]) {
        unbroken.push_back(left[i]);
        continue;
      }
      std::copy_n(part.rows.data() + i * d, d, result.rows.data() + left[i] * d);
      result.broken[left[i]] = 1;
    }
    left = std::move(unbroken);
  }
  return result;
}

}  // namespace redoubt
