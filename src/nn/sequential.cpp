#include "redoubt/nn/sequential.hpp"

#include <fmt/format.h>

#include "redoubt/core/error.hpp"
#include "redoubt/nn/builder.hpp"

namespace redoubt {

Graph Sequential::graph(OpShape input, std::size_t outputs, bool softmax) const {
  if (layers.empty()) detail::fail(errc::invalid_argument, "sequential: there are no layers");
  GraphBuilder builder(std::move(input));
  Value x = builder.input();
  for (const Layer& layer : layers) {
    const bool output = layer.kind == "output" && outputs > 0;
    Layer known = layer;
    if (output) {
      known.kind = "dense";
      known.attributes = {static_cast<double>(outputs)};
      if (known.name.empty()) known.name = "output";
    }
    x = builder.add(known, x);
  }
  if (outputs > 0 && op_size(x.shape()) != outputs) {
    detail::fail(errc::shape_mismatch,
                 fmt::format("sequential: layer {} ({}) gives [{}], but the target needs {} values; end with "
                             "layer::Output{{}} or layer::Dense{{{}}}",
                             layers.size(), layers.back().kind, fmt::join(x.shape(), ", "), outputs, outputs));
  }
  const bool has_softmax = layers.back().kind == "softmax";
  // The softmax of a head is added by its loss.
  builder.head("output", x, {.kind = softmax && !has_softmax ? LossKind::cross_entropy : LossKind::mse});
  return builder.build();
}

}  // namespace redoubt
