#include "redoubt/model/predictor.hpp"

#include <catch2/catch.hpp>

#include "model/toy_form.hpp"
#include "redoubt/core/parallel.hpp"
#include "redoubt/core/tensor.hpp"

using namespace redoubt;

TEST_CASE("forms are found by name, an unknown one names those that are linked", "[predictor]") {
  CHECK(find_form("toy") == &test::load_toy);
  for (const char* linked : {"linear", "forest", "graph"}) CHECK(find_form(linked) != nullptr);
  try {
    find_form("oracle");
    FAIL("found");
  } catch (const Error& error) {
    CHECK(error.code() == errc::unsupported);
    CHECK(std::string(error.what()).find("\"oracle\"") != std::string::npos);
    CHECK(std::string(error.what()).find("forest, graph, linear, toy") != std::string::npos);
  }
}

TEST_CASE("a batch equals its rows, at any thread count and stride", "[predictor][threads]") {
  const test::ToyForm form({0.5f, -1.25f, 2.0f}, 2, 4);
  Tensor<float> wide{1000, 5};
  Random random(1);
  for (float& v : wide.flat()) v = static_cast<float>(random.normal());
  const MatrixView<const float> src(wide.data(), 1000, 3, 5);
  for (const int threads : {1, 2, 5}) {
    Arena arena(threads);
    Tensor<float> out{1000, 2};
    form.predict_batch(src, out, &arena);
    float one[2]{}, scratch[4]{};
    std::size_t different = 0;
    for (std::size_t r = 0; r < 1000; ++r) {
      form.predict(src.row(r), one, scratch);
      different += one[0] != out(r, 0) || one[1] != out(r, 1);
    }
    CHECK(different == 0);
  }
}

TEST_CASE("a batch of the wrong shape names both shapes", "[predictor]") {
  const test::ToyForm form({1, 2, 3}, 2, 0);
  const Tensor<float> src{4, 2};
  Tensor<float> dst{4, 2};
  try {
    form.predict_batch(src, dst, nullptr);
    FAIL("accepted");
  } catch (const Error& error) {
    CHECK(error.code() == errc::shape_mismatch);
    CHECK(std::string(error.what()) ==
          "predict_batch of a toy with 3 inputs and 2 outputs was given 4 x 2 inputs and room for 4 x 2 outputs");
  }
  CHECK(form.Predictor::to_source("f").empty());
}
