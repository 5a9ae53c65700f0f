// Eigen chooses its instructions when it is compiled, so the peer of matmul_bench gets a file of its own, built for the
// machine that runs the benchmark.
#include <Eigen/Core>

#include "bench/kernels/eigen_product.hpp"

namespace redoubt::bench {

void eigen_product(MatrixView<const float> a, MatrixView<const float> b, MatrixView<float> c) {
  using Matrix = Eigen::Matrix<float, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
  const Eigen::Map<const Matrix> left(a.data(), Eigen::Index(a.rows()), Eigen::Index(a.cols()));
  const Eigen::Map<const Matrix> right(b.data(), Eigen::Index(b.rows()), Eigen::Index(b.cols()));
  Eigen::Map<Matrix>(c.data(), Eigen::Index(c.rows()), Eigen::Index(c.cols())).noalias() = left * right;
}

}  // namespace redoubt::bench
