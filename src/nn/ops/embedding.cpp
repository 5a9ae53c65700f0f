// embedding and embedding_bag: rows of a learned table, chosen by whole numbers.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "nn/ops/op_table.hpp"
#include "redoubt/core/error.hpp"
#include "redoubt/core/random.hpp"

namespace redoubt::detail {
namespace {

// Floats hold whole numbers exactly up to 2^24.
constexpr OpAttribute embedding_attributes[] = {
    {.name = "entries", .fallback = 1, .low = 1, .high = 1 << 24, .whole = true},
    {.name = "width", .fallback = 1, .low = 1, .high = 65536, .whole = true}};
constexpr OpAttribute bag_attributes[] = {{.name = "entries", .fallback = 1, .low = 1, .high = 1 << 24, .whole = true},
                                          {.name = "width", .fallback = 1, .low = 1, .high = 65536, .whole = true},
                                          {.name = "mean", .fallback = 1, .low = 0, .high = 1, .whole = true}};

/// Row of the table for an id: its whole part downwards. `entries` (none) if it is outside or not a number.
std::size_t entry(float id, std::size_t entries) {
  return id >= 0 && id < static_cast<float>(entries) ? static_cast<std::size_t>(id) : entries;
}

class TableOp : public Op {
 public:
  std::vector<OpParameter> parameters(std::span<const OpShape>, std::span<const double> attributes) const override {
    return {{.name = "table",
             .shape = {static_cast<std::size_t>(attributes[0]), static_cast<std::size_t>(attributes[1])},
             .sparse = true}};
  }
  std::size_t used_rows(std::span<const float> input, std::span<const double> attributes,
                        std::span<std::uint32_t> rows) const override {
    const auto entries = static_cast<std::size_t>(attributes[0]);
    std::size_t count = 0;
    for (const float id : input) {
      const std::size_t e = entry(id, entries);
      if (e < entries) rows[count++] = static_cast<std::uint32_t>(e);
    }
    return count;
  }
  void initialise(std::span<const MatrixView<float>> parameters, Random& random) const override {
    const double deviation = 1.0 / std::sqrt(static_cast<double>(parameters[0].cols()));
    for (std::size_t r = 0; r < parameters[0].rows(); ++r) {
      for (float& w : parameters[0].row(r)) w = static_cast<float>(deviation * random.normal());
    }
  }

 protected:
  struct Reach {
    double low, high;
    bool certain;  // inside the table for every id, or outside for every id
    bool inside;
  };
  /// What value `d` of the row of an id in [low, high] may be.
  static Reach reach(const MatrixView<const float>& table, float low, float high, std::size_t d) {
    Reach found{std::numeric_limits<double>::infinity(), -std::numeric_limits<double>::infinity(), true, true};
    const auto see = [&](double v) {
      found.low = std::min(found.low, v);
      found.high = std::max(found.high, v);
    };
    const auto size = static_cast<double>(table.rows());
    const bool out_below = low < 0, out_above = high >= size;
    const auto first = static_cast<std::size_t>(std::clamp<double>(low, 0, size));
    const auto last = static_cast<std::size_t>(std::clamp<double>(high + 1.0, 0, size));
    found.inside = high >= 0 && low < size;
    if (found.inside) {
      for (std::size_t e = first; e < std::max(last, first); ++e) see(table(e, d));
    }
    if (!found.inside || out_below || out_above) see(0);
    found.certain = !found.inside || (!out_below && !out_above);
    return found;
  }
};

/// Every id of the input becomes a row of the table (entries x width): shape of the input, then width. Ids are floats
/// that hold whole numbers; one outside [0, entries) gives zeros. Only rows that occur get gradients.
class Embedding final : public TableOp {
 public:
  std::string_view name() const noexcept override { return "embedding"; }
  std::string_view onnx_name() const noexcept override { return "Gather"; }
  std::span<const OpAttribute> attributes() const noexcept override { return embedding_attributes; }
  OpShape infer(std::span<const OpShape> inputs, std::span<const double> attributes) const override {
    OpShape shape = inputs[0];
    shape.push_back(static_cast<std::uint32_t>(attributes[1]));
    return shape;
  }
  void forward(const OpForward& call) const override {
    const auto table = call.parameters[0];
    for (std::size_t r = 0; r < call.output.rows(); ++r) {
      for (std::size_t i = 0; i < call.inputs[0].cols(); ++i) {
        float* const to = call.output.row(r).data() + i * table.cols();
        const std::size_t e = entry(call.inputs[0](r, i), table.rows());
        if (e == table.rows()) {
          std::fill_n(to, table.cols(), 0.0f);
        } else {
          std::copy_n(table.row(e).data(), table.cols(), to);
        }
      }
    }
  }
  void backward(const OpBackward& call) const override {
    const auto to = call.parameter_gradients[0];
    if (!to.data()) return;
    for (std::size_t r = 0; r < call.output_gradient.rows(); ++r) {
      for (std::size_t i = 0; i < call.inputs[0].cols(); ++i) {
        const std::size_t e = entry(call.inputs[0](r, i), to.rows());
        if (e == to.rows()) continue;
        const float* const from = call.output_gradient.row(r).data() + i * to.cols();
        for (std::size_t d = 0; d < to.cols(); ++d) to(e, d) += from[d];
      }
    }
  }
  void bounds(const OpBounds& call) const override {
    const auto table = call.parameters[0];
    for (std::size_t r = 0; r < call.output_lower.rows(); ++r) {
      for (std::size_t i = 0; i < call.output_lower.cols(); ++i) {
        const std::size_t at = i / table.cols();
        const Reach found = reach(table, call.input_lower[0](r, at), call.input_upper[0](r, at), i % table.cols());
        call.output_lower(r, i) = static_cast<float>(found.low);
        call.output_upper(r, i) = static_cast<float>(found.high);
      }
    }
  }
};

/// Sum or mean of the table's rows for all ids of the input; ids outside [0, entries) pad and do not count. A bag of
/// padding alone gives zeros.
class EmbeddingBag final : public TableOp {
 public:
  std::string_view name() const noexcept override { return "embedding_bag"; }
  std::string_view onnx_name() const noexcept override { return "Gather+ReduceSum"; }
  std::span<const OpAttribute> attributes() const noexcept override { return bag_attributes; }
  OpShape infer(std::span<const OpShape>, std::span<const double> attributes) const override {
    return {static_cast<std::uint32_t>(attributes[1])};
  }
  void forward(const OpForward& call) const override {
    const auto table = call.parameters[0];
    for (std::size_t r = 0; r < call.output.rows(); ++r) {
      float* const to = call.output.row(r).data();
      std::fill_n(to, table.cols(), 0.0f);
      for (const float id : call.inputs[0].row(r)) {
        const std::size_t e = entry(id, table.rows());
        if (e == table.rows()) continue;
        const float* const from = table.row(e).data();
        for (std::size_t d = 0; d < table.cols(); ++d) to[d] += from[d];
      }
      const float share = factor(call, call.inputs[0].row(r));
      for (std::size_t d = 0; d < table.cols(); ++d) to[d] *= share;
    }
  }
  void backward(const OpBackward& call) const override {
    const auto to = call.parameter_gradients[0];
    if (!to.data()) return;
    for (std::size_t r = 0; r < call.output_gradient.rows(); ++r) {
      const float share = factor(call, call.inputs[0].row(r));
      for (const float id : call.inputs[0].row(r)) {
        const std::size_t e = entry(id, to.rows());
        if (e == to.rows()) continue;
        for (std::size_t d = 0; d < to.cols(); ++d) to(e, d) += share * call.output_gradient(r, d);
      }
    }
  }
  // A mean over a number of rows that is not known lies between the smallest and the largest row that may be there.
  void bounds(const OpBounds& call) const override {
    const auto table = call.parameters[0];
    const bool mean = call.attributes[2] != 0;
    for (std::size_t r = 0; r < call.output_lower.rows(); ++r) {
      for (std::size_t d = 0; d < table.cols(); ++d) {
        double low = 0, high = 0, least = 0, most = 0, size = 0, count = 0;
        bool certain = true;
        for (std::size_t i = 0; i < call.input_lower[0].cols(); ++i) {
          const Reach found = reach(table, call.input_lower[0](r, i), call.input_upper[0](r, i), d);
          low += found.low;
          high += found.high;
          least = std::min(least, found.low);
          most = std::max(most, found.high);
          size += std::max(std::abs(found.low), std::abs(found.high));
          certain = certain && found.certain;
          count += found.inside;
        }
        if (mean && certain && count > 0) {
          low /= count, high /= count, size /= count;
        } else if (mean) {
          low = least, high = most;
        }
        const double slack = (static_cast<double>(call.input_lower[0].cols()) + 4) * 0x1p-23 * size + 1e-37;
        call.output_lower(r, d) = static_cast<float>(low - slack);
        call.output_upper(r, d) = static_cast<float>(high + slack);
      }
    }
  }

 private:
  static float factor(const OpContext& call, std::span<const float> ids) {
    if (call.attributes[2] == 0) return 1.0f;
    const std::size_t entries = call.parameters[0].rows();
    const auto count = std::count_if(ids.begin(), ids.end(), [&](float id) { return entry(id, entries) < entries; });
    return count > 0 ? 1.0f / static_cast<float>(count) : 1.0f;
  }
};

}  // namespace

const Op& embedding_op() noexcept {
  static const Embedding op;
  return op;
}

const Op& embedding_bag_op() noexcept {
  static const EmbeddingBag op;
  return op;
}

}  // namespace redoubt::detail
