#include "redoubt/kernels/rounded_weights.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "kernels/rounded.hpp"
#include "redoubt/core/error.hpp"
#include "redoubt/core/parallel.hpp"

namespace redoubt::kernels {

RoundedWeights::RoundedWeights(MatrixView<const float> w, ProductPrecision precision)
    : rows_(w.rows()), cols_(w.cols()), precision_(precision) {
  if (precision == ProductPrecision::fp32)
    redoubt::detail::fail(errc::invalid_argument, "RoundedWeights: precision is fp32");
  if (rows_ > 0 && cols_ > 0) kernels_ = detail::tile_kernels();
  if (kernels_) {
    tiles_.resize(detail::tiled_right_bytes({0, cols_, rows_}, precision));
    detail::prepare_tiled_right(*kernels_, w, precision, reinterpret_cast<unsigned char*>(tiles_.data()));
    return;
  }
  values_ = Tensor<float>({rows_, cols_});
  for (std::size_t r = 0; r < rows_; ++r) std::copy(w.row(r).begin(), w.row(r).end(), values_.row(r).begin());
}

void matmul(MatrixView<const float> a, const RoundedWeights& w, MatrixView<float> c, const Epilogue& epilogue) {
  static Arena serial(1);
  const MatmulOptions options{.epilogue = epilogue, .precision = w.precision_, .arena = &serial};
  if (!w.kernels_) return matmul(a, w.values_, c, options);
  if (a.cols() != w.rows_ || c.rows() != a.rows() || c.cols() != w.cols_)
    redoubt::detail::fail(errc::shape_mismatch,
                          fmt::format("matmul: {} x {} times rounded weights of {} x {} into {} x {}", a.rows(),
                                      a.cols(), w.rows_, w.cols_, c.rows(), c.cols()));
  if (a.rows() == 0) return;
  detail::tiled_product(*w.kernels_, detail::Form::nn, a, {}, c, options, {a.rows(), w.cols_, w.rows_},
                        reinterpret_cast<const unsigned char*>(w.tiles_.data()));
}

}  // namespace redoubt::kernels
