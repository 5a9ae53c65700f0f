#include "redoubt/nn/streaming.hpp"

#include <fmt/format.h>

#include "redoubt/core/error.hpp"
#include "redoubt/core/tensor.hpp"
#include "redoubt/nn/trainer.hpp"

namespace redoubt {

double train_stream(Trainer& trainer, RowStream& stream) {
  if (stream.targets() != trainer.targets()) {
    detail::fail(errc::shape_mismatch, fmt::format("train_stream: targets have {} values, the trainer needs {}",
                                                   stream.targets(), trainer.targets()));
  }
  Tensor<float> rows({trainer.batch(), stream.inputs()}), targets({trainer.batch(), stream.targets()});
  stream.rewind();
  double loss = 0, count = 0;
  while (true) {
    std::size_t filled = 0;  // a stream may give less than is wanted before its end
    while (filled < trainer.batch()) {
      const std::size_t more = stream.read(MatrixView<float>(rows).slice(filled, trainer.batch()),
                                           MatrixView<float>(targets).slice(filled, trainer.batch()));
      if (more == 0) break;
      filled += more;
    }
    if (filled == 0) break;
    loss += trainer.step(MatrixView<const float>(rows).slice(0, filled),
                         MatrixView<const float>(targets).slice(0, filled)) *
            static_cast<double>(filled);
    count += static_cast<double>(filled);
    if (filled < trainer.batch()) break;
  }
  if (count == 0) detail::fail(errc::invalid_argument, "train_stream: the stream has no row");
  trainer.flush();
  return loss / count;
}

}  // namespace redoubt
