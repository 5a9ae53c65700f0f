#pragma once
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "redoubt/nn/graph.hpp"
#include "redoubt/nn/layer.hpp"
#include "redoubt/nn/loss.hpp"

namespace redoubt {

class GraphBuilder;

/// A tensor of a graph under construction; the builder must outlive it.
class Value {
 public:
  const OpShape& shape() const noexcept;

 private:
  friend class GraphBuilder;
  friend Value operator+(Value, Value);
  friend Value operator-(Value, Value);
  friend Value operator*(Value, Value);
  friend Value operator/(Value, Value);
  Value(GraphBuilder* builder, std::uint32_t tensor) noexcept : builder_(builder), tensor_(tensor) {}
  GraphBuilder* builder_;
  std::uint32_t tensor_;
};

/// Elementwise; see the ops add, sub, mul and div for shapes.
Value operator+(Value a, Value b);
Value operator-(Value a, Value b);
Value operator*(Value a, Value b);
Value operator/(Value a, Value b);

/// A named part of the rows that a graph takes.
struct GraphInput {
  std::string name;
  OpShape shape;
};

/// Writes a graph as calls:
///
///     GraphBuilder b({{"image", {28, 28, 1}}, {"age", {1}}});
///     Value x = b.add({layer::Conv2d{16}, layer::ReLU{}, layer::GlobalAveragePool{}}, b.input("image"));
///     Value y = b.add(layer::Dense{10}, b.concat({x, b.input("age")}));
///     b.head("class", y);
///     Graph graph = b.build();
///
/// Every call infers its shape at once: Error(shape_mismatch) or Error(invalid_argument) names the layer, what it does
/// not accept and the shapes it got. Not thread-safe.
class GraphBuilder {
 public:
  explicit GraphBuilder(OpShape input);
  /// A row is the inputs one after the other. Error(invalid_argument) without inputs or for equal names.
  explicit GraphBuilder(std::vector<GraphInput> inputs);
  GraphBuilder(const GraphBuilder&) = delete;
  GraphBuilder& operator=(const GraphBuilder&) = delete;

  Value input() const noexcept { return inputs_.front(); }
  Value input(std::string_view name) const;  ///< Error(not_found) with the names

  Value add(const Layer& layer, Value x) { return add(layer, std::span<const Value>(&x, 1)); }
  Value add(const Layer& layer, std::initializer_list<Value> x) { return add(layer, {x.begin(), x.size()}); }
  Value add(const Layer& layer, std::span<const Value> x);
  /// One after the other.
  Value add(std::initializer_list<Layer> layers, Value x);
  Value add(std::span<const Layer> layers, Value x);

  Value concat(std::initializer_list<Value> parts, std::uint32_t axis = 0);  ///< 2 to 4
  /// Parts of one axis, in order; `sizes` must add up to its extent.
  std::vector<Value> split(Value x, std::uint32_t axis, std::span<const std::uint32_t> sizes);
  /// Attention of `queries` to `keys` and `values`, without projections.
  Value attention(Value queries, Value keys, Value values, std::uint32_t heads = 1, bool causal = false);
  /// Axes by bits: 1 = first, 2 = second, 4, 8.
  Value reduce_sum(Value x, std::uint32_t axes);
  Value reduce_mean(Value x, std::uint32_t axes);
  Value reduce_max(Value x, std::uint32_t axes);

  /// `scores` are trained by `loss`.
  void head(std::string name, Value scores, NetworkLoss loss = {});
  /// The graph whose output is that of the heads: of one head with cross_entropy or focal loss its softmax, else the
  /// scores of all heads, one after the other. Ops that no head needs are left out. Error(invalid_argument) without a
  /// head.
  Graph build() const;
  /// For a Trainer over `build()`.
  std::vector<LossHead> heads() const;

 private:
  friend class Value;
  friend Value operator+(Value, Value);
  friend Value operator-(Value, Value);
  friend Value operator*(Value, Value);
  friend Value operator/(Value, Value);
  struct Head {
    std::string name;
    std::uint32_t tensor;
    NetworkLoss loss;
  };
  Value node(const Layer& layer, std::string_view op, std::vector<double> attributes, std::span<const Value> x);
  Value node(const Layer& layer, std::string_view op, std::vector<double> attributes, Value x) {
    return node(layer, op, static_cast<std::vector<double>&&>(attributes), std::span<const Value>(&x, 1));
  }

  std::vector<GraphNode> nodes_;
  std::vector<OpShape> shapes_;  // per tensor
  std::vector<std::string> names_;
  std::vector<Value> inputs_;
  std::vector<Head> heads_;
  std::size_t layers_ = 0;
};

}  // namespace redoubt
