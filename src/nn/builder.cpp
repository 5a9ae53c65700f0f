#include "redoubt/nn/builder.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "nn/graph_internal.hpp"
#include "redoubt/core/error.hpp"

namespace redoubt {
namespace {

std::string text(const OpShape& shape) { return fmt::format("[{}]", fmt::join(shape, ", ")); }

std::vector<double> extents(const OpShape& shape) { return {shape.begin(), shape.end()}; }

/// One bit for every axis but the last.
double positions(const OpShape& shape) { return static_cast<double>((1u << (shape.size() - 1)) - 1); }

}  // namespace

const OpShape& Value::shape() const noexcept { return builder_->shapes_[tensor_]; }

GraphBuilder::GraphBuilder(OpShape input) : shapes_{std::move(input)}, names_{"x"}, inputs_{Value(this, 0)} {}

GraphBuilder::GraphBuilder(std::vector<GraphInput> inputs) {
  if (inputs.empty()) detail::fail(errc::invalid_argument, "graph builder: there must be an input");
  std::size_t size = 0;
  for (const GraphInput& input : inputs) {
    if (std::find(names_.begin(), names_.end(), input.name) != names_.end()) {
      detail::fail(errc::invalid_argument, fmt::format("graph builder: two inputs are called \"{}\"", input.name));
    }
    names_.push_back(input.name);
    size += op_size(input.shape);
  }
  if (inputs.size() == 1) {
    shapes_.push_back(inputs[0].shape);
    inputs_.push_back(Value(this, 0));
    return;
  }
  shapes_.push_back({static_cast<std::uint32_t>(size)});
  std::size_t first = 0;
  for (const GraphInput& input : inputs) {
    const Layer what{.kind = "input", .name = input.name};
    const auto width = static_cast<double>(op_size(input.shape));
    Value part = node(what, "slice", {0, static_cast<double>(first), width}, Value(this, 0));
    if (input.shape.size() != 1) part = node(what, "reshape", extents(input.shape), part);
    inputs_.push_back(part);
    first += op_size(input.shape);
  }
  layers_ = 0;
}

Value GraphBuilder::input(std::string_view name) const {
  const auto at = std::find(names_.begin(), names_.end(), name);
  if (at == names_.end()) {
    detail::fail(errc::not_found,
                 fmt::format("graph builder: no input is called \"{}\"; there are {}", name, fmt::join(names_, ", ")));
  }
  return inputs_[static_cast<std::size_t>(at - names_.begin())];
}

Value GraphBuilder::node(const Layer& layer, std::string_view op, std::vector<double> attributes,
                         std::span<const Value> x) {
  std::vector<OpShape> shapes;
  GraphNode made{.op = std::string(op), .initialiser = layer.initialiser};
  std::string got;
  for (const Value& value : x) {
    if (value.builder_ != this) detail::fail(errc::invalid_argument, "graph builder: a value of another builder");
    made.inputs.push_back(value.tensor_);
    shapes.push_back(value.shape());
    got += (got.empty() ? "" : ", ") + text(value.shape());
  }
  const std::string kind = layer.kind == op ? layer.kind : fmt::format("{}: {}", layer.kind, op);
  const std::string what = layer.name.empty() ? fmt::format("layer {} ({})", layers_, kind)
                                              : fmt::format("layer {} \"{}\" ({})", layers_, layer.name, kind);
  try {
    const Op& known = find_op(op);
    if (x.size() > known.arity() || x.size() < known.least_arity()) {
      detail::fail(errc::shape_mismatch, fmt::format("it got {} inputs and takes {}", x.size(), known.arity()));
    }
    detail::complete_attributes(known, attributes, what);
    shapes_.push_back(known.infer(shapes, attributes));
  } catch (const Error& error) {
    detail::fail(error.code(), fmt::format("graph builder: {} on {}: {}", what, got, error.what()));
  }
  made.attributes = std::move(attributes);
  nodes_.push_back(std::move(made));
  return {this, static_cast<std::uint32_t>(nodes_.size())};
}

Value GraphBuilder::add(std::initializer_list<Layer> layers, Value x) {
  return add(std::span<const Layer>(layers.begin(), layers.size()), x);
}

Value GraphBuilder::add(std::span<const Layer> layers, Value x) {
  for (const Layer& layer : layers) x = add(layer, x);
  return x;
}

Value GraphBuilder::add(const Layer& layer, std::span<const Value> inputs) {
  ++layers_;
  const std::string& kind = layer.kind;
  if (inputs.size() == 1) {
    const Value x = inputs[0];
    const OpShape shape = x.shape();
    if (kind == "flatten") return node(layer, "reshape", {static_cast<double>(op_size(shape))}, x);
    if ((kind == "layer_norm" || kind == "dense") && shape.size() == 1) {
      std::vector<double> attributes = layer.attributes;
      if (attributes.size() > 1) attributes[1] = 0;  // one position
      return node(layer, kind, std::move(attributes), x);
    }
    if (kind == "global_max_pool" || kind == "global_average_pool" || kind == "last_position" ||
        kind == "multi_head_attention") {
      if (shape.size() < 2) {
        detail::fail(errc::shape_mismatch,
                     fmt::format("graph builder: layer {} ({}) on {}: it needs positions and a last axis", layers_,
                                 kind, text(shape)));
      }
      if (kind == "last_position") {
        const Value last = node(layer, "slice", {0, static_cast<double>(shape[0] - 1), 1}, x);
        OpShape rest(shape.begin() + 1, shape.end());
        return node(layer, "reshape", extents(rest), last);
      }
      if (kind != "multi_head_attention") {
        return node(layer, kind == "global_max_pool" ? "reduce_max" : "reduce_mean", {positions(shape)}, x);
      }
      const std::vector<double> projection{static_cast<double>(shape.back()), 1};
      const Value q = node(layer, "dense", projection, x), k = node(layer, "dense", projection, x),
                  v = node(layer, "dense", projection, x);
      const Value parts[] = {q, k, v};
      return node(layer, "dense", projection, node(layer, "attention", layer.attributes, parts));
    }
    if (kind == "residual") {
      const Value other = add(layer.inside, x);
      const Value both[] = {x, other};
      return node(layer, "add", {}, both);
    }
    if (kind == "output") {
      detail::fail(errc::invalid_argument,
                   fmt::format("graph builder: layer {} (output): only an estimator or Sequential::graph with outputs "
                               "knows its size; say Dense",
                               layers_));
    }
  }
  return node(layer, kind, layer.attributes, inputs);
}

Value GraphBuilder::concat(std::initializer_list<Value> parts, std::uint32_t axis) {
  return add({.kind = "concat", .attributes = {static_cast<double>(axis)}}, parts);
}

std::vector<Value> GraphBuilder::split(Value x, std::uint32_t axis, std::span<const std::uint32_t> sizes) {
  std::vector<Value> parts;
  std::uint64_t first = 0;
  for (const std::uint32_t size : sizes) {
    parts.push_back(
        add({.kind = "slice",
             .attributes = {static_cast<double>(axis), static_cast<double>(first), static_cast<double>(size)},
             .name = "split"},
            x));
    first += size;
  }
  if (axis >= x.shape().size() || first != x.shape()[axis]) {
    detail::fail(errc::shape_mismatch, fmt::format("graph builder: split of axis {} of {} into [{}]", axis,
                                                   text(x.shape()), fmt::join(sizes, ", ")));
  }
  return parts;
}

Value GraphBuilder::attention(Value queries, Value keys, Value values, std::uint32_t heads, bool causal) {
  return add({.kind = "attention", .attributes = {static_cast<double>(heads), causal ? 1.0 : 0.0}},
             {queries, keys, values});
}

Value GraphBuilder::reduce_sum(Value x, std::uint32_t axes) {
  return add({.kind = "reduce_sum", .attributes = {static_cast<double>(axes)}}, x);
}
Value GraphBuilder::reduce_mean(Value x, std::uint32_t axes) {
  return add({.kind = "reduce_mean", .attributes = {static_cast<double>(axes)}}, x);
}
Value GraphBuilder::reduce_max(Value x, std::uint32_t axes) {
  return add({.kind = "reduce_max", .attributes = {static_cast<double>(axes)}}, x);
}

Value operator+(Value a, Value b) { return a.builder_->add({.kind = "add"}, {a, b}); }
Value operator-(Value a, Value b) { return a.builder_->add({.kind = "sub"}, {a, b}); }
Value operator*(Value a, Value b) { return a.builder_->add({.kind = "mul"}, {a, b}); }
Value operator/(Value a, Value b) { return a.builder_->add({.kind = "div"}, {a, b}); }

void GraphBuilder::head(std::string name, Value scores, NetworkLoss loss) {
  if (scores.builder_ != this || scores.tensor_ == 0) {
    detail::fail(errc::invalid_argument,
                 fmt::format("graph builder: head \"{}\" must be the output of a layer of this builder", name));
  }
  if (heads_.size() == max_op_inputs) {
    detail::fail(errc::invalid_argument,
                 fmt::format("graph builder: head \"{}\" is one too many; there may be {}", name, max_op_inputs));
  }
  heads_.push_back({std::move(name), scores.tensor_, std::move(loss)});
}

std::vector<LossHead> GraphBuilder::heads() const {
  std::vector<LossHead> list;
  std::size_t first = 0;
  for (const Head& head : heads_) {
    const std::size_t size = op_size(shapes_[head.tensor]);
    list.push_back({.name = head.name, .first = first, .size = size, .loss = head.loss});
    first += size;
  }
  return list;
}

Graph GraphBuilder::build() const {
  if (heads_.empty()) detail::fail(errc::invalid_argument, "graph builder: there is no head; call head()");
  std::vector<bool> needed(shapes_.size(), false);
  for (const Head& head : heads_) needed[head.tensor] = true;
  for (std::size_t i = nodes_.size(); i-- > 0;) {
    if (!needed[i + 1]) continue;
    for (const auto tensor : nodes_[i].inputs) needed[tensor] = true;
  }
  std::vector<std::uint32_t> moved(shapes_.size(), 0);
  std::vector<GraphNode> kept;
  for (std::size_t i = 0; i < nodes_.size(); ++i) {
    if (!needed[i + 1]) continue;
    kept.push_back(nodes_[i]);
    for (auto& tensor : kept.back().inputs) tensor = moved[tensor];
    moved[i + 1] = static_cast<std::uint32_t>(kept.size());
  }
  const auto append = [&](std::string_view op, std::vector<std::uint32_t> inputs, std::vector<double> attributes) {
    kept.push_back({std::string(op), std::move(inputs), std::move(attributes)});
    return static_cast<std::uint32_t>(kept.size());
  };
  std::vector<std::uint32_t> outputs;
  for (const Head& head : heads_) {
    std::uint32_t tensor = moved[head.tensor];
    const OpShape& shape = shapes_[head.tensor];
    if (shape.size() > 1) tensor = append("reshape", {tensor}, {static_cast<double>(op_size(shape))});
    outputs.push_back(tensor);
  }
  if (outputs.size() > 1) {
    append("concat", outputs, {0});
  } else {
    const LossKind kind = heads_[0].loss.kind;
    if (kind == LossKind::cross_entropy || kind == LossKind::focal) {
      append("softmax", {outputs[0]}, {});
    } else if (outputs[0] != kept.size()) {  // the output of the last node is that of the graph
      append("reshape", {outputs[0]}, {static_cast<double>(op_size(shapes_[heads_[0].tensor]))});
    }
  }
  return Graph(shapes_[0], std::move(kept));
}

}  // namespace redoubt
