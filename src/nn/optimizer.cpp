#include "redoubt/nn/optimizer.hpp"

#include <algorithm>
#include <cmath>

#include "nn/optimizer_state.hpp"
#include "nn/require.hpp"
#include "redoubt/core/parallel.hpp"
#include "redoubt/kernels/optimizer.hpp"

namespace redoubt {

void check(const Optimizer& o) {
  const auto require = [](bool good, std::string_view option, double value, std::string_view rule) {
    detail::require(good && std::isfinite(value), "optimizer", option, value, rule);
  };
  require(o.kind <= OptimizerKind::lbfgs, "kind", static_cast<double>(o.kind), "an enumerator");
  require(o.learning_rate > 0, "learning_rate", o.learning_rate, "positive");
  require(o.weight_decay >= 0, "weight_decay", o.weight_decay, ">= 0");
  require(o.momentum >= 0 && o.momentum < 1, "momentum", o.momentum, "in [0, 1)");
  require(!o.nesterov || o.momentum > 0, "momentum", o.momentum, "positive with nesterov");
  require(o.beta1 >= 0 && o.beta1 < 1, "beta1", o.beta1, "in [0, 1)");
  require(o.beta2 >= 0 && o.beta2 < 1, "beta2", o.beta2, "in [0, 1)");
  require(o.alpha >= 0 && o.alpha < 1, "alpha", o.alpha, "in [0, 1)");
  require(o.epsilon > 0, "epsilon", o.epsilon, "positive");
  require(o.history >= 1 && o.history <= 1000, "history", o.history, "1 to 1000");
}

namespace detail {
namespace {

constexpr float negligible = 1e-30f;  // below it a moment becomes zero: subnormal numbers cost a hundred times more
constexpr std::size_t grain = 16384;

float clean(float moment) { return std::abs(moment) < negligible ? 0.0f : moment; }

}  // namespace

OptimizerState::OptimizerState(const Graph& graph, const Optimizer& optimizer) : optimizer_(optimizer) {
  const std::size_t size = graph.parameters().size();
  const OptimizerKind kind = optimizer.kind;
  const bool adam = kind == OptimizerKind::adam || kind == OptimizerKind::adamw;
  if (adam || kind == OptimizerKind::lion || optimizer.momentum > 0) first.assign(size, 0.0f);
  if (adam || kind == OptimizerKind::rmsprop) second.assign(size, 0.0f);
}

void OptimizerState::begin(std::uint64_t step, double rate) {
  rate_ = static_cast<float>(rate);
  const auto t = static_cast<double>(step);
  const double first_share = 1 - std::pow(optimizer_.beta1, t),
               second_share = std::sqrt(1 - std::pow(optimizer_.beta2, t));
  scaled_rate_ = static_cast<float>(rate * second_share / first_share);
  scaled_epsilon_ = static_cast<float>(optimizer_.epsilon * second_share);
}

/// update(w, slope, first moment, second moment) for all values; slope has the coupled decay.
template <class Update>
void OptimizerState::each(const Range& range, float* w, float* g, float factor, Arena* arena, Update update) {
  const bool decoupled = optimizer_.kind == OptimizerKind::adamw || optimizer_.kind == OptimizerKind::lion;
  const auto decay = static_cast<float>(range.decay ? optimizer_.weight_decay : 0.0);
  const float coupled = decoupled ? 0.0f : decay;
  const float keep = decoupled ? 1.0f - rate_ * decay : 1.0f;
  const auto all = [&, update](std::size_t begin, std::size_t end) {
    for (std::size_t j = begin, i = range.offset + begin; j < end; ++j, ++i) {
      const float slope = factor * g[j] + coupled * w[i];
      w[i] = update(keep * w[i], slope, i);
      g[j] = 0;
    }
  };
  if (range.size <= grain) return all(0, range.size);
  parallel_for(range.size, grain, all, arena);
}

void OptimizerState::move(const Range& range, std::span<float> parameters, std::span<float> gradient, float factor,
                          Arena* arena) {
  float* const w = parameters.data();
  float* const g = gradient.data();
  float* const m = first.data();
  float* const v = second.data();
  const float rate = rate_, momentum = static_cast<float>(optimizer_.momentum);
  const auto b1 = static_cast<float>(optimizer_.beta1), b2 = static_cast<float>(optimizer_.beta2);
  const auto c1 = static_cast<float>(1 - optimizer_.beta1), c2 = static_cast<float>(1 - optimizer_.beta2);
  switch (optimizer_.kind) {
    case OptimizerKind::sgd:
      if (momentum == 0) {
        return each(range, w, g, factor, arena, [=](float x, float s, std::size_t) { return x - rate * s; });
      }
      return each(range, w, g, factor, arena, [=, nesterov = optimizer_.nesterov](float x, float s, std::size_t i) {
        m[i] = clean(momentum * m[i] + s);
        return x - rate * (nesterov ? s + momentum * m[i] : m[i]);
      });
    case OptimizerKind::adam:
    case OptimizerKind::adamw: {
      const auto decay = static_cast<float>(range.decay ? optimizer_.weight_decay : 0.0);
      const bool decoupled = optimizer_.kind == OptimizerKind::adamw;
      const kernels::AdamStep step{.factor = factor,
                                   .coupled = decoupled ? 0.0f : decay,
                                   .keep = decoupled ? 1.0f - rate_ * decay : 1.0f,
                                   .first_keep = b1,
                                   .first_add = c1,
                                   .second_keep = b2,
                                   .second_add = c2,
                                   .rate = scaled_rate_,
                                   .epsilon = scaled_epsilon_};
      const auto some = [&](std::size_t begin, std::size_t end) {
        const std::size_t at = range.offset + begin, count = end - begin;
        kernels::adam(step, parameters.subspan(at, count), gradient.subspan(begin, count),
                      std::span(first).subspan(at, count), std::span(second).subspan(at, count));
        std::fill_n(g + begin, count, 0.0f);
      };
      if (range.size <= grain) return some(0, range.size);
      return parallel_for(range.size, grain, some, arena);
    }
    case OptimizerKind::rmsprop: {
      const auto a = static_cast<float>(optimizer_.alpha), c = static_cast<float>(1 - optimizer_.alpha);
      return each(range, w, g, factor, arena,
                  [=, epsilon = static_cast<float>(optimizer_.epsilon)](float x, float s, std::size_t i) {
                    v[i] = clean(a * v[i] + c * s * s);
                    float move = s / (std::sqrt(v[i]) + epsilon);
                    if (momentum > 0) move = m[i] = clean(momentum * m[i] + move);
                    return x - rate * move;
                  });
    }
    case OptimizerKind::lion:
      return each(range, w, g, factor, arena, [=](float x, float s, std::size_t i) {
        const float direction = b1 * m[i] + c1 * s;
        m[i] = clean(b2 * m[i] + c2 * s);
        return x - rate * static_cast<float>((direction > 0) - (direction < 0));
      });
    case OptimizerKind::lbfgs: break;  // Trainer::step refuses it
  }
}

}  // namespace detail
}  // namespace redoubt
