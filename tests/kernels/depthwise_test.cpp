#include "kernels/depthwise.hpp"

#include <catch2/catch.hpp>
#include <cmath>
#include <limits>

#include "kernels/random_data.hpp"

using namespace redoubt;
using namespace redoubt::kernels;
using redoubt::test::random_tensor;

TEST_CASE("depthwise convolutions stay near the reference, at any division of the rows", "[depthwise]") {
  struct Case {
    std::size_t height, width, channels, kernel_height, kernel_width, stride, pad, dilation;
  };
  const Case cases[] = {{9, 13, 16, 3, 3, 1, 1, 1}, {9, 13, 35, 3, 3, 2, 1, 1},  {12, 30, 64, 3, 3, 1, 0, 1},
                        {7, 6, 5, 5, 3, 2, 2, 1},   {11, 12, 20, 3, 3, 1, 2, 2}, {4, 3, 8, 2, 7, 1, 3, 1},
                        {5, 5, 17, 1, 1, 3, 0, 1},  {3, 3, 4, 3, 3, 1, 4, 1},    {6, 6, 9, 3, 3, 2, 3, 3},
                        {1, 40, 33, 1, 4, 3, 1, 2}};
  for (const Case& k : cases) {
    const DepthwiseShape s{k.height,
                           k.width,
                           k.channels,
                           k.kernel_height,
                           k.kernel_width,
                           k.stride,
                           k.pad,
                           k.dilation,
                           (k.height + 2 * k.pad - k.dilation * (k.kernel_height - 1) - 1) / k.stride + 1,
                           (k.width + 2 * k.pad - k.dilation * (k.kernel_width - 1) - 1) / k.stride + 1};
    INFO(k.height << " x " << k.width << " x " << k.channels << ", " << k.kernel_height << " x " << k.kernel_width
                  << ", stride " << k.stride << ", pad " << k.pad << ", dilation " << k.dilation);
    auto src = random_tensor(k.height * k.width, k.channels, 1);
    const auto weight = random_tensor(k.kernel_height * k.kernel_width, k.channels, 2),
               bias = random_tensor(1, k.channels, 3);
    for (const Activation activation : {Activation::none, Activation::relu, Activation::sigmoid, Activation::tanh}) {
      Tensor<float> got({s.out_height * s.out_width, k.channels}), want(got.shape());
      const std::size_t half = s.out_height / 2;
      depthwise(s, src.data(), weight.data(), bias.data(), activation, got.data(), half, s.out_height);
      depthwise(s, src.data(), weight.data(), bias.data(), activation, got.data(), 0, half);
      naive::depthwise(s, src.data(), weight.data(), bias.data(), activation, want.data(), 0, s.out_height);
      for (std::size_t i = 0; i < got.size(); ++i) REQUIRE(got.data()[i] == Approx(want.data()[i]).margin(1e-5));
    }
    // A NaN spoils the places that see it, and no others.
    src.data()[k.channels / 2] = std::numeric_limits<float>::quiet_NaN();
    Tensor<float> got({s.out_height * s.out_width, k.channels}), want(got.shape());
    depthwise(s, src.data(), weight.data(), bias.data(), Activation::relu, got.data(), 0, s.out_height);
    naive::depthwise(s, src.data(), weight.data(), bias.data(), Activation::relu, want.data(), 0, s.out_height);
    for (std::size_t i = 0; i < got.size(); ++i) REQUIRE(std::isnan(got.data()[i]) == std::isnan(want.data()[i]));
  }
}
