#include "redoubt/interop/lightgbm.hpp"

#include <catch2/catch.hpp>
#include <limits>

#include "interop/golden.hpp"
#include "redoubt/core/error.hpp"
#include "redoubt/core/random.hpp"
#include "redoubt/data/dataset.hpp"
#include "redoubt/data/encoder.hpp"
#include "redoubt/linear/ridge.hpp"
#include "redoubt/model/model.hpp"
#include "redoubt/trees/gradient_boosting.hpp"
#include "redoubt/trees/random_forest.hpp"
#include "redoubt/trees/shap.hpp"

namespace redoubt {
namespace {

using Catch::Matchers::Contains;
constexpr float nan_value = std::numeric_limits<float>::quiet_NaN();
constexpr float infinity = std::numeric_limits<float>::infinity();

std::string header(const std::string& objective = "objective=regression\n", int columns = 2, int per_iteration = 1) {
  std::string names;
  for (int c = 0; c < columns; ++c) names += (c ? " c" : "c") + std::to_string(c);
  return "tree\nversion=v4\nnum_class=1\nnum_tree_per_iteration=" + std::to_string(per_iteration) +
         "\nlabel_index=0\nmax_feature_idx=" + std::to_string(columns - 1) + "\n" + objective +
         "feature_names=" + names + "\n\n";
}

/// One split on column 0: left 1, right 2.
std::string stump(const std::string& threshold, int decision_type, const std::string& more = "num_cat=0\n") {
  return header() + "Tree=0\nnum_leaves=2\n" + more + "split_feature=0\nsplit_gain=3.5\nthreshold=" + threshold +
         "\ndecision_type=" + std::to_string(decision_type) +
         "\nleft_child=-1\nright_child=-2\nleaf_value=1 2\nleaf_count=30 12\ninternal_count=42\nis_linear=0\n"
         "shrinkage=1\n\n\nend of trees\n";
}

bool goes_left(const Forest& forest, float x) {
  const float row[2] = {x, 0};
  std::uint32_t leaf = 9;
  forest.leaf_ids(row, {&leaf, 1});
  return leaf == 0;
}

std::string replaced(std::string text, const std::string& what, const std::string& by) {
  const std::size_t at = text.find(what);
  REQUIRE(at != text.npos);
  return text.replace(at, what.size(), by);
}

errc code_of(const std::string& text) {
  try {
    read_lightgbm_forest_text(text);
  } catch (const Error& error) {
    return error.code();
  }
  return errc::ok;
}

}  // namespace

TEST_CASE("LightGBM's own models give its outputs and its leaves") {
  const auto models = test::golden_models("lightgbm_", ".lgb");
  REQUIRE(models.size() >= 40);
  for (const auto& path : models) {
    const test::Golden golden = test::golden_of(path);
    INFO(golden.name);
    const auto forest = read_lightgbm_forest(path.string());
    CHECK(test::wrong_leaves(*forest, golden) == 0);
    CHECK(test::largest_difference(*forest, golden) <= 1e-6);
  }
}

TEST_CASE("A LightGBM model is a Model: it is saved, loaded and predicts from columns by name") {
  for (const std::string name : {"regression", "binary", "multiclass_categorical", "ova", "poisson", "rf", "custom"}) {
    const std::string path = REDOUBT_SOURCE_DIR "/tests/interop/golden/lightgbm_" + name + ".lgb";
    INFO(name);
    const Model model = read_lightgbm(path);
    const Model again = Model::from_bytes(model.to_bytes());
    CHECK(model.info().algorithm == "lightgbm");
    CHECK(model.schema()[0].name == "Column_0");
    const auto forest = read_lightgbm_forest(path);
    CHECK(model.task() ==
          (name == "binary" || name == "ova" || name.starts_with("multi") ? Task::classification : Task::regression));
    if (name == "binary") CHECK(model.classes() == std::vector<std::string>{"0", "1"});
    const test::Golden golden = test::golden_of(path);
    std::vector<float> a(model.outputs()), b(model.outputs()), c(model.outputs());
    for (std::size_t r = 0; r < golden.x.rows(); ++r) {
      forest->predict(golden.x.row(r), c, {});
      CHECK(again.predict(golden.x.row(r), b) == errc::ok);
      // The encoder keeps infinities out; finite rows are the forest's.
      bool finite = true;
      for (const float x : golden.x.row(r)) finite = finite && !std::isinf(x);
      if (finite) CHECK(b == c);
    }
  }
}

TEST_CASE("Several outputs of a custom objective are a Forest, but no Model") {
  const std::string tree = "num_leaves=1\nnum_cat=0\nleaf_value=0.5\n\n";
  const std::string text = header("", 2, 2) + "Tree=0\n" + tree + "Tree=1\n" + tree + "end of trees\n";
  CHECK(read_lightgbm_forest_text(text)->outputs() == 2);
  CHECK_THROWS_WITH(read_lightgbm_text(text), Contains("read it as a Forest"));
}

TEST_CASE("Thresholds are rounded so that every float goes LightGBM's way") {
  for (const char* digits : {"0.10000000000000001", "-0.10000000000000001", "16777217", "1e300", "-1e300", "3.5", "inf",
                             "0.29999999999999999", "3.4028235677973366e+38"}) {
    INFO(digits);
    const double threshold = std::strtod(digits, nullptr);
    const auto forest = read_lightgbm_forest_text(stump(digits, 8));
    const float near = static_cast<float>(std::clamp(threshold, -3.4028234663852886e38, 3.4028234663852886e38));
    for (const float x : {near, std::nextafter(near, infinity), std::nextafter(near, -infinity), infinity, -infinity,
                          0.0f, 1.0f, -1.0f})
      CHECK(goes_left(*forest, x) == (static_cast<double>(x) <= threshold));
  }
}

TEST_CASE("Missing types None, Zero and NaN, with both default directions") {
  const float tiny = 1e-45f, bound = 1e-35f;
  for (const double threshold : {-0.5, 0.0, 0.5}) {
    for (int type = 0; type < 12; ++type) {
      if (type & 1) continue;
      INFO("decision_type " << type << ", threshold " << threshold);
      const bool default_left = type & 2;
      const auto forest = read_lightgbm_forest_text(stump(std::to_string(threshold), type));
      const bool zero_left = type >> 2 == 1 ? default_left : 0 <= threshold;
      for (const float zero : {0.0f, -0.0f, tiny, -tiny, bound, -bound}) CHECK(goes_left(*forest, zero) == zero_left);
      CHECK(goes_left(*forest, std::nextafter(bound, 1.0f)) == (bound < threshold));
      CHECK(goes_left(*forest, std::nextafter(-bound, -1.0f)) == (threshold >= 0));
      CHECK(goes_left(*forest, nan_value) == (type >> 2 == 2 ? default_left : zero_left));
      CHECK(goes_left(*forest, infinity) == false);
      CHECK(goes_left(*forest, -infinity) == true);
    }
  }
}

TEST_CASE("Category sets: members go left, unseen, negative and missing codes go right") {
  // Codes 1, 4 and 33 in two words.
  const auto forest = read_lightgbm_forest_text(stump("0", 9, "num_cat=1\ncat_boundaries=0 2\ncat_threshold=18 2\n"));
  for (const float code : {1.0f, 4.0f, 33.0f, 1.9f, 33.5f}) CHECK(goes_left(*forest, code));
  for (const float code : {0.0f, 2.0f, 5.0f, 32.0f, 34.0f, 63.0f, 64.0f, 1e9f, 3e9f, 1e30f, -1.0f, -4.0f, -0.5f,
                           infinity, -infinity, nan_value})
    CHECK_FALSE(goes_left(*forest, code));
}

TEST_CASE("Covers are LightGBM's counts, gains its gains") {
  const auto forest = read_lightgbm_forest_text(stump("0.5", 8));
  CHECK(forest->arrays().cover == std::vector<float>{42});
  CHECK(forest->arrays().leaf_cover == std::vector<float>{30, 12});
  CHECK(forest->arrays().gain == std::vector<float>{3.5f});
}

TEST_CASE("SHAP values of LightGBM's models are LightGBM's") {
  for (const std::string name : {"regression", "binary", "categorical", "zero_as_missing", "multiclass"}) {
    const std::string path = REDOUBT_SOURCE_DIR "/tests/interop/golden/lightgbm_" + name;
    INFO(name);
    const auto forest = read_lightgbm_forest(path + ".lgb");
    const test::Golden golden = test::golden_of(path + ".lgb");
    const std::string bytes = test::bytes_of(path + ".shap");
    const TreeShap shap(*forest);
    const auto values = shap.values(golden.x);
    const std::size_t columns = golden.x.cols(), per_row = shap.outputs() * (columns + 1);
    REQUIRE(bytes.size() == golden.x.rows() * per_row * sizeof(double));
    double most = 0;
    for (std::size_t r = 0; r < golden.x.rows(); ++r)
      for (std::size_t i = 0; i < per_row; ++i) {
        double want = 0;
        std::memcpy(&want, bytes.data() + (r * per_row + i) * sizeof want, sizeof want);
        const std::size_t k = i / (columns + 1), c = i % (columns + 1);
        most = std::max(most, std::abs((c < columns ? values(r, k * columns + c) : shap.base()[k]) - want));
      }
    CHECK(most <= 1e-6);
  }
}

TEST_CASE("A large initial score does not cost the precision of the leaves") {
  const std::string text = replaced(stump("0.5", 8), "leaf_value=1 2", "leaf_value=1000000.125 1000000.126");
  const auto forest = read_lightgbm_forest_text(text);
  const auto& a = forest->arrays();
  const double base = static_cast<double>(forest->shape().base[0]);
  CHECK(std::abs(base + static_cast<double>(a.leaf_values[0]) - 1000000.125) < 1e-9);
  CHECK(std::abs(base + static_cast<double>(a.leaf_values[1]) - 1000000.126) < 1e-9);
}

TEST_CASE("LightGBM text that is wrong is refused with line and key") {
  const std::string good = stump("0.5", 8);
  REQUIRE(code_of(good) == errc::ok);
  const auto refused = [&](const std::string& what, const std::string& by, const std::string& message,
                           errc code = errc::parse_error) {
    INFO(what << " -> " << by);
    const std::string text = replaced(good, what, by);
    CHECK(code_of(text) == code);
    CHECK_THROWS_WITH(read_lightgbm_forest_text(text, "m.txt"), Contains(message) && Contains("m.txt:"));
    CHECK(code_of(replaced(text, "\n", "\r\n")) == code);
  };
  refused("is_linear=0", "is_linear=1", "linear leaves", errc::unsupported);
  refused("version=v4", "version=v9", "v9", errc::unsupported);
  refused("objective=regression", "objective=rocket", "rocket", errc::unsupported);
  refused("tree\n", "three\n", "no LightGBM model");
  refused("end of trees\n", "", "cut off");
  refused("num_leaves=2", "num_leaves=3", "leaf_value");
  refused("num_leaves=2", "num_leaves=0", "num_leaves");
  refused("num_leaves=2", "num_leaves=2147483647", "leaf_value");
  refused("leaf_value=1 2", "leaf_value=1 2 3", "more than the 2");
  refused("leaf_value=1 2", "leaf_value=1 x", "\"x\" is no number");
  refused("leaf_value=1 2", "leaf_value=1 nan", "not a finite float");
  refused("leaf_value=1 2", "leaf_value=1 1e300", "not a finite float");
  refused("leaf_value=1 2\n", "", "leaf_value: this key is missing");
  refused("threshold=0.5", "threshold=nan", "not a number");
  refused("split_feature=0", "split_feature=2", "column 2");
  refused("split_feature=0", "split_feature=-1", "split_feature");
  refused("left_child=-1", "left_child=0", "reached twice");
  refused("left_child=-1", "left_child=-2", "two parents");
  refused("left_child=-1", "left_child=7", "node 7 does not exist");
  refused("left_child=-1", "left_child=-9", "leaf 8 does not exist");
  refused("decision_type=8", "decision_type=9", "num_cat is 0");
  refused("decision_type=8", "decision_type=12", "decision type");
  refused("feature_names=c0 c1", "feature_names=c0", "names");
  refused("max_feature_idx=1", "max_feature_idx=4000000000", "columns", errc::unsupported);
  refused("num_tree_per_iteration=1", "num_tree_per_iteration=2", "iteration");
  refused("Tree=0", "Tree=1", "tree 0 should begin");
  refused("num_cat=0", "num_cat=0\nnum_cat=0", "occurs twice");
  refused("objective=regression", "objective=binary sigmoid:-1", "sigmoid");
  refused("objective=regression", "objective=multiclass num_class:3", "num_class");
  refused("num_cat=0", "num_cat=1\ncat_boundaries=0 99\ncat_threshold=1", "cat_threshold");
  CHECK(code_of("") == errc::parse_error);
  CHECK_THROWS_AS(read_lightgbm("/nowhere/model.txt"), Error);
}

TEST_CASE("A model without feature columns of equal name is needed for a Model, with a clear error") {
  CHECK_THROWS_WITH(read_lightgbm_text(replaced(stump("0.5", 8), "c0 c1", "c0 c0"), "m.txt"), Contains("m.txt"));
}

TEST_CASE("Every golden model survives being written as LightGBM text") {
  for (const auto& path : test::golden_models("lightgbm_", ".lgb")) {
    const test::Golden golden = test::golden_of(path);
    INFO(golden.name);
    const auto forest = read_lightgbm_forest(path.string());
    const auto again = read_lightgbm_forest_text(write_lightgbm_text(*forest));
    CHECK(again->trees() == forest->trees());
    CHECK(test::largest_difference(*again, golden) <= 1e-6);
  }
}

TEST_CASE("Redoubt's own models are written as LightGBM text: categories, missing values, classes, averages") {
  Random random(3);
  Column number{.spec = {.name = "a number"}}, kind{.spec = {.name = "kind", .type = ColumnType::categorical}};
  Column target{.spec = {.name = "y", .type = ColumnType::categorical, .role = ColumnRole::target}};
  for (int k = 0; k < 40; ++k) kind.spec.categories.push_back("k\"" + std::to_string(100 + k));
  target.spec.categories = {"no", "perhaps", "yes"};
  for (int r = 0; r < 600; ++r) {
    const bool missing = random.below(8) == 0;
    number.numbers.push_back(missing ? std::numeric_limits<double>::quiet_NaN() : random.normal());
    kind.codes.push_back(static_cast<std::int32_t>(random.below(41)) - 1);
    const double score = (missing ? 1.0 : number.numbers.back()) + (kind.codes.back() % 3 == 1) * 2.0;
    target.codes.push_back(score < 0 ? 0 : score < 1 ? 1 : 2);
  }
  const Dataset data({number, kind, target});
  Column value{.spec = {.name = "y", .role = ColumnRole::target}};
  for (const std::int32_t code : target.codes) value.numbers.push_back(1000.0 + code);
  const Dataset regression({number, kind, value});
  const auto check = [](const Model& model, const Dataset& rows) {
    INFO(model.info().algorithm);
    const std::string text = write_lightgbm_text(model);
    CHECK_THAT(text, Contains("a_number kind"));
    CHECK_THAT(text, Contains("pandas_categorical:[[\"k\\\"100\", "));
    const auto forest = read_lightgbm_forest_text(text);
    REQUIRE(forest->outputs() == model.outputs());
    std::vector<float> a(model.outputs()), b(model.outputs()), row(2);
    double most = 0;
    for (std::size_t r = 0; r < rows.rows(); ++r) {
      model.encoder().apply(rows.row(r), row);
      model.predictor().predict(row, a, {});
      forest->predict(row, b, {});
      for (std::size_t k = 0; k < a.size(); ++k)
        most = std::max(most, std::abs(static_cast<double>(a[k] - b[k])) / std::max(1.0, std::abs(double{a[k]})));
    }
    CHECK(most <= 1e-6);
  };
  check(GradientBoosting{{.trees = 8}}.fit(data), data);
  check(GradientBoosting{{.trees = 8}}.fit(regression), regression);
  check(RandomForest{{.trees = 5}}.fit(data), data);
  check(RandomForest{{.trees = 5}}.fit(regression), regression);
}

namespace {

ForestShape one_output(ForestLink link) { return {.inputs = 1, .outputs = 1, .link = link, .base = {0.25f}}; }

ForestArrays categorical_stump(std::uint8_t flags) {
  ForestArrays a;
  a.roots = {0};
  a.outputs_of = {0};
  a.feature = {0};
  a.threshold = {0};
  a.left = {~0};
  a.right = {~1};
  a.flags = {flags};
  a.category_set = {0};
  a.category_offsets = {0, 2};
  a.category_bits = {18, 2};
  a.leaf_values = {1, 2};
  a.cover = {3};
  a.leaf_cover = {1, 2};
  a.gain = {1};
  return a;
}

}  // namespace

TEST_CASE("A split that sends missing and unknown codes left is written with its sides exchanged") {
  for (const int flags : {0, missing_left | others_left}) {
    const Forest forest(one_output(ForestLink::identity), categorical_stump(static_cast<std::uint8_t>(flags)));
    const auto again = read_lightgbm_forest_text(write_lightgbm_text(forest));
    for (const float x : {0.0f, 1.0f, 4.0f, 5.0f, 33.0f, 34.0f, 63.0f, 64.0f, 1e9f, -1.0f, -7.0f, nan_value}) {
      float a = 0, b = 0;
      forest.predict({&x, 1}, {&a, 1}, {});
      again->predict({&x, 1}, {&b, 1}, {});
      INFO("flags " << flags << ", code " << x);
      CHECK(a == b);
    }
  }
}

TEST_CASE("What LightGBM text cannot hold is refused by name") {
  const auto refused = [](const Forest& forest, const std::string& message) {
    CHECK_THROWS_WITH(write_lightgbm_text(forest), Contains(message));
  };
  refused(Forest(one_output(ForestLink::identity), categorical_stump(missing_left)), "different sides");
  refused(Forest(one_output(ForestLink::identity), categorical_stump(others_left)), "different sides");
  refused(Forest(one_output(ForestLink::isolation), categorical_stump(0)), "isolation");
  refused(Forest(one_output(ForestLink::step), categorical_stump(0)), "0 or 1");
  refused(Forest(one_output(ForestLink::one_vs_all), categorical_stump(0)), "one-vs-all");
  ForestShape two = one_output(ForestLink::exponential);
  two.outputs = 2;
  two.base = {0, 0};
  refused(Forest(two, categorical_stump(0)), "poisson for 2 scores");
  const Dataset data = Dataset::from_matrix(MatrixView<const float>(std::vector<float>{1, 2, 3, 4}.data(), 4, 1),
                                            std::vector<double>{1, 2, 3, 5});
  CHECK_THROWS_WITH(write_lightgbm_text(Ridge{}.fit(data)), Contains("\"linear\""));
}

TEST_CASE("A double is routed as if rounded to float first") {
  ForestArrays a = categorical_stump(missing_left);
  a.category_set = {-1};
  a.category_offsets.clear();
  a.category_bits.clear();
  for (const float threshold : {0.7f, 0.1f, 3.0f, -0.7f, 1e-30f, 16777216.0f}) {
    a.threshold = {threshold};
    const std::string text = write_lightgbm_text(Forest(one_output(ForestLink::identity), a));
    const std::size_t at = text.find("\nthreshold=") + 11;
    const double written = std::strtod(text.c_str() + at, nullptr);
    INFO(threshold);
    CHECK(static_cast<float>(written) <= threshold);
    CHECK(static_cast<float>(std::nextafter(written, 1e300)) > threshold);
  }
}

}  // namespace redoubt
