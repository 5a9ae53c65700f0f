#include "redoubt/kernels/histogram.hpp"

#include <catch2/catch.hpp>
#include <vector>

#include "redoubt/core/random.hpp"

using namespace redoubt;
using kernels::HistogramBin;

namespace {
struct Data {
  std::vector<std::uint8_t> bins;
  std::vector<float> gradient, hessian;
  std::vector<std::uint32_t> rows;
};

Data make_data(std::size_t n, std::size_t bins, double share) {
  Data data;
  Random random(n);
  for (std::size_t i = 0; i < n; ++i) {
    data.bins.push_back(std::uint8_t(random.below(bins)));
    data.gradient.push_back(float(random.normal()));
    data.hessian.push_back(float(random.uniform()));
    if (random.uniform() < share) data.rows.push_back(std::uint32_t(i));
  }
  return data;
}
}  // namespace

TEST_CASE("the histogram equals the reference bit for bit and adds to what is there", "[histogram]") {
  for (const std::size_t n : {0, 1, 15, 16, 17, 5000}) {
    const Data data = make_data(n, 256, 0.6);
    std::vector<HistogramBin> fast(256, {1, 2, 3}), naive(256, {1, 2, 3});
    kernels::add_to_histogram(data.bins, data.rows, data.gradient, data.hessian, fast);
    kernels::naive::add_to_histogram(data.bins, data.rows, data.gradient, data.hessian, naive);
    CHECK(fast == naive);
    std::uint64_t count = 0;
    double gradient = 0, expected = 0;
    for (const HistogramBin& bin : fast) count += bin.count - 3, gradient += bin.gradient - 1;
    for (std::uint32_t row : data.rows) expected += data.gradient[row];
    CHECK(count == data.rows.size());
    CHECK(gradient == Approx(expected).margin(1e-9));
  }
}

TEST_CASE("the sibling's histogram is the difference", "[histogram]") {
  const Data data = make_data(3000, 32, 0.5);
  std::vector<std::uint32_t> all(3000), others;
  for (std::uint32_t i = 0, next = 0; i < 3000; ++i) {
    all[i] = i;
    if (next < data.rows.size() && data.rows[next] == i)
      ++next;
    else
      others.push_back(i);
  }
  std::vector<HistogramBin> parent(32), child(32), sibling(32);
  kernels::add_to_histogram(data.bins, all, data.gradient, data.hessian, parent);
  kernels::add_to_histogram(data.bins, data.rows, data.gradient, data.hessian, child);
  kernels::add_to_histogram(data.bins, others, data.gradient, data.hessian, sibling);
  kernels::subtract_histogram(parent, child, parent);
  for (std::size_t i = 0; i < 32; ++i) {
    CHECK(parent[i].count == sibling[i].count);
    CHECK(parent[i].gradient == Approx(sibling[i].gradient).margin(1e-9));
    CHECK(parent[i].hessian == Approx(sibling[i].hessian).margin(1e-9));
  }
}
