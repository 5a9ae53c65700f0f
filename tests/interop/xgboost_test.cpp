#include "redoubt/interop/xgboost.hpp"

#include <catch2/catch.hpp>
#include <limits>

#include "interop/golden.hpp"
#include "redoubt/core/error.hpp"
#include "redoubt/model/model.hpp"

namespace redoubt {
namespace {

using Catch::Matchers::Contains;
constexpr float nan_value = std::numeric_limits<float>::quiet_NaN();

const std::string golden_folder = REDOUBT_SOURCE_DIR "/tests/interop/golden/";

Shared<const Forest> forest_of(const std::string& bytes, XgboostOptions options = {}) {
  return read_xgboost_forest_bytes(std::as_bytes(std::span(bytes)), options, "m.json");
}

/// One tree of two leaves on column 0.
std::string stump(const std::string& condition = "5E-1", const std::string& categories = "", int type = 0) {
  return R"({"learner":{"attributes":{},"feature_names":["a","b"],"gradient_booster":{"model":{"gbtree_model_param":)"
         R"({"num_parallel_tree":"1","num_trees":"1"},"tree_info":[0],"trees":[{"default_left":[1,0,0],"id":0,)"
         R"("left_children":[1,-1,-1],"right_children":[2,-1,-1],"loss_changes":[2.5,0,0],"parents":[2147483647,0,0],)"
         R"("split_conditions":[)" +
         condition + R"(,1,2],"split_indices":[0,0,0],"split_type":[)" + std::to_string(type) + ",0,0]," + categories +
         R"("sum_hessian":[9,4,5],"tree_param":{"num_nodes":"3","size_leaf_vector":"1"}}]},"name":"gbtree"},)"
         R"("learner_model_param":{"base_score":"5E-1","num_class":"0","num_feature":"2"},)"
         R"("objective":{"name":"reg:squarederror"}},"version":[3,2,0]})";
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

errc code_of(const std::string& bytes) {
  try {
    forest_of(bytes);
  } catch (const Error& error) {
    return error.code();
  }
  return errc::ok;
}

}  // namespace

TEST_CASE("XGBoost's own models give its outputs and its leaves") {
  const auto models = test::golden_models("xgboost_", ".json");
  REQUIRE(models.size() >= 40);
  for (const auto& path : models) {
    const test::Golden golden = test::golden_of(path);
    INFO(golden.name);
    const auto forest = read_xgboost_forest(path.string());
    CHECK(test::wrong_leaves(*forest, golden) == 0);
    CHECK(test::largest_difference(*forest, golden) <= 1e-6);
  }
}

TEST_CASE("UBJ and JSON hold the same forest") {
  const auto models = test::golden_models("xgboost_", ".ubj");
  REQUIRE(models.size() >= 5);
  for (const auto& path : models) {
    INFO(path);
    const auto ubj = read_xgboost_forest(path.string());
    const auto json = read_xgboost_forest(std::filesystem::path(path).replace_extension(".json").string());
    CHECK(ubj->shape().base == json->shape().base);
    CHECK(ubj->arrays().threshold == json->arrays().threshold);
    CHECK(ubj->arrays().leaf_values == json->arrays().leaf_values);
    CHECK(ubj->arrays().flags == json->arrays().flags);
    CHECK(ubj->arrays().category_bits == json->arrays().category_bits);
    CHECK(ubj->arrays().cover == json->arrays().cover);
  }
}

TEST_CASE("An XGBoost model is a Model: it is saved, loaded and predicts") {
  for (const std::string name : {"squarederror", "logistic", "softprob", "softmax", "hinge", "categorical", "ndcg"}) {
    INFO(name);
    const std::string path = golden_folder + "xgboost_" + name + ".json";
    const Model model = read_xgboost(path);
    CHECK(model.info().algorithm == "xgboost");
    CHECK(model.schema()[5].name == "f5");
    const bool classes = name == "logistic" || name.starts_with("soft");
    CHECK(model.task() == (classes ? Task::classification : Task::regression));
    const Model again = Model::from_bytes(model.to_bytes());
    const test::Golden golden = test::golden_of(path);
    const auto forest = read_xgboost_forest(path);
    std::vector<float> a(model.outputs()), b(model.outputs());
    for (std::size_t r = 0; r < golden.x.rows(); ++r) {
      forest->predict(golden.x.row(r), a, {});
      CHECK(again.predict(golden.x.row(r), b) == errc::ok);
      CHECK(a == b);
    }
  }
}

TEST_CASE("Early stopping's best iteration is used on request") {
  const std::string path = golden_folder + "xgboost_early_stopping.json";
  const auto all = read_xgboost_forest(path);
  const auto best = read_xgboost_forest(path, {.best_iteration = true});
  const std::string bytes = test::bytes_of(path);
  const std::string key = "\"best_iteration\":\"";
  const std::size_t iterations = std::stoul(bytes.substr(bytes.find(key) + key.size())) + 1;
  CHECK(best->trees() == iterations);
  CHECK(all->trees() >= iterations);
  const std::string wrong = replaced(bytes, key, key + "7");
  CHECK_THROWS_WITH(forest_of(wrong, {.best_iteration = true}), Contains("best_iteration"));
  CHECK(forest_of(wrong)->trees() == all->trees());
}

TEST_CASE("x < t of XGBoost, in floats") {
  for (const float threshold : {0.5f, 0.0f, -0.0f, 1e-45f, -1e-45f, 3e38f, -3e38f, 0.1f}) {
    const auto forest = forest_of(stump(std::to_string(0).substr(1) + [&] {
      char digits[40];
      std::snprintf(digits, sizeof digits, "%.9e", static_cast<double>(threshold));
      return std::string(digits);
    }()));
    INFO(threshold);
    const float infinity = std::numeric_limits<float>::infinity();
    for (const float x : {threshold, std::nextafter(threshold, infinity), std::nextafter(threshold, -infinity), 0.0f,
                          -0.0f, 1e-45f, -1e-45f, infinity, -infinity})
      CHECK(goes_left(*forest, x) == (x < threshold));
    CHECK(goes_left(*forest, nan_value));
  }
  CHECK_FALSE(goes_left(*forest_of(replaced(stump(), "\"default_left\":[1", "\"default_left\":[false")), nan_value));
}

TEST_CASE("Codes in the set of a node go right, all others left") {
  const std::string set =
      R"("categories":[1,4,33],"categories_nodes":[0],"categories_segments":[0],"categories_sizes":[3],)";
  const auto forest = forest_of(replaced(stump("0", set, 1), "\"default_left\":[1", "\"default_left\":[0"));
  for (const float code : {1.0f, 4.0f, 33.0f, 33.5f, nan_value}) CHECK_FALSE(goes_left(*forest, code));
  for (const float code : {0.0f, 2.0f, 34.0f, 63.0f, 64.0f, 1e9f, -1.0f, -4.0f}) CHECK(goes_left(*forest, code));
}

TEST_CASE("Covers are sums of hessians, gains loss changes, deleted nodes are left out") {
  const auto forest = forest_of(stump());
  CHECK(forest->arrays().cover == std::vector<float>{9});
  CHECK(forest->arrays().leaf_cover == std::vector<float>{4, 5});
  CHECK(forest->arrays().gain == std::vector<float>{2.5f});
  std::string text = stump();
  for (const auto& [key, value] : {std::pair{"default_left\":[1,0,0", ",0"},
                                   {"left_children\":[1,-1,-1", ",-1"},
                                   {"right_children\":[2,-1,-1", ",-1"},
                                   {"loss_changes\":[2.5,0,0", ",0"},
                                   {"split_conditions\":[5E-1,1,2", ",77"},
                                   {"split_indices\":[0,0,0", ",2147483647"},
                                   {"split_type\":[0,0,0", ",0"},
                                   {"sum_hessian\":[9,4,5", ",8"}})
    text = replaced(text, key, std::string(key) + value);
  const auto pruned = forest_of(replaced(text, "\"num_nodes\":\"3\"", "\"num_deleted\":\"1\",\"num_nodes\":\"4\""));
  CHECK(pruned->arrays().leaf_values == forest->arrays().leaf_values);
}

TEST_CASE("The weights of dart are found in all three places that XGBoost has had for them") {
  const std::string dart = replaced(stump(), "\"name\":\"gbtree\"", "\"name\":\"dart\"");
  CHECK_THROWS_WITH(forest_of(dart), Contains("weight_drop"));
  const auto beside = forest_of(replaced(dart, "\"name\":\"dart\"", "\"name\":\"dart\",\"weight_drop\":[0.5]"));
  const auto inside = forest_of(replaced(dart, "\"tree_info\":[0]", "\"tree_info\":[0],\"weight_drop\":[0.5]"));
  CHECK(beside->arrays().leaf_values == std::vector<float>{0.5f, 1.0f});
  CHECK(inside->arrays().leaf_values == beside->arrays().leaf_values);
  const auto nested = read_xgboost_forest(golden_folder + "xgboost_old_dart.json");  // a gbtree of its own
  CHECK(nested->trees() == 4);
}

TEST_CASE("Several targets are a Forest, but no Model") {
  std::string text = replaced(stump(), "\"num_class\":\"0\"", "\"num_class\":\"0\",\"num_target\":\"2\"");
  CHECK_THROWS_WITH(forest_of(text), Contains("2 outputs, but there are 1 trees"));
  const std::size_t begin = text.find("\"trees\":[") + 9, end = text.find("]},\"name\"");
  const std::string tree = text.substr(begin, end - begin);
  text = replaced(replaced(text, tree, tree + "," + tree), "\"tree_info\":[0]", "\"tree_info\":[0,1]");
  text = replaced(text, "\"base_score\":\"5E-1\"", "\"base_score\":\"[5E-1,-2E0]\"");
  CHECK(forest_of(text)->shape().base == std::vector<float>{0.5f, -2.0f});
  CHECK_THROWS_WITH(read_xgboost_bytes(std::as_bytes(std::span(text))), Contains("read it as a Forest"));
}

TEST_CASE("XGBoost files that are wrong are refused with key or offset") {
  const std::string good = stump();
  REQUIRE(code_of(good) == errc::ok);
  const auto refused = [&](const std::string& what, const std::string& by, const std::string& message,
                           errc code = errc::corrupt) {
    INFO(what << " -> " << by);
    const std::string text = replaced(good, what, by);
    CHECK(code_of(text) == code);
    CHECK_THROWS_WITH(forest_of(text), Contains(message) && Contains("m.json: "));
  };
  refused("\"name\":\"gbtree\"", "\"name\":\"gblinear\"", "gblinear", errc::unsupported);
  refused("\"size_leaf_vector\":\"1\"", "\"size_leaf_vector\":\"3\"", "multi_output_tree", errc::unsupported);
  refused("reg:squarederror", "reg:rocket", "reg:rocket", errc::unsupported);
  refused("\"sum_hessian\"", "\"some_hessian\"", "learner.gradient_booster.model.trees[0]: key \"sum_hessian\"");
  refused("\"left_children\":[1,", "\"left_children\":[0,", "reached twice");
  refused("\"left_children\":[1,", "\"left_children\":[2,", "reached twice");
  refused("\"left_children\":[1,", "\"left_children\":[3,", "left_children: child 3");
  refused("\"left_children\":[1,", "\"left_children\":[1.5,", "child 1.5");
  refused("\"left_children\":[1,", "\"left_children\":[\"1\",", "mixes");
  refused("\"left_children\":[1,", "\"left_children\":[", "2 entries, 3 are expected");
  refused("\"split_indices\":[0,", "\"split_indices\":[2,", "column 2");
  refused("\"split_conditions\":[5E-1,", "\"split_conditions\":[-1e300,", "threshold");
  refused("\"split_conditions\":[5E-1,1", "\"split_conditions\":[5E-1,1e300", "not a finite float");
  refused("\"split_type\":[0", "\"split_type\":[1", "categories_nodes");
  refused("\"num_nodes\":\"3\"", "\"num_nodes\":\"4000000000\"", "num_nodes");
  refused("\"num_nodes\":\"3\"", "\"num_nodes\":\"0\"", "entries");
  refused("\"num_feature\":\"2\"", "\"num_feature\":\"99999999\"", "num_feature");
  refused("\"base_score\":\"5E-1\"", "\"base_score\":\"[5E-1,1E0]\"", "more than 1 numbers");
  refused("\"base_score\":\"5E-1\"", "\"base_score\":\"half\"", "\"half\" is no number");
  refused("\"tree_info\":[0]", "\"tree_info\":[1]", "tree_info");
  refused("\"tree_info\":[0]", "\"tree_info\":[0,0]", "tree_info");
  refused("\"attributes\":{}", "\"attributes\":{},\"attributes\":{}", "occurs twice");
  refused("\"attributes\":{}", "\"attributes\":}", "byte");
  refused("\"attributes\":{}", "\"attributes\":" + std::string(40, '[') + std::string(40, ']'), "deep");
  CHECK(code_of("") == errc::corrupt);
  CHECK(code_of("[]") == errc::corrupt);
  CHECK(code_of("{L") == errc::corrupt);
  CHECK(code_of(good.substr(0, good.size() - 1)) == errc::corrupt);
  CHECK_THROWS_AS(read_xgboost("/nowhere/model.json"), Error);
}

TEST_CASE("UBJ that announces more than it holds is refused before memory is taken") {
  const std::string ubj = test::bytes_of(golden_folder + "xgboost_logistic.ubj");
  REQUIRE(code_of(ubj) == errc::ok);
  for (std::size_t cut = 0; cut < ubj.size(); cut += 97) CHECK(code_of(ubj.substr(0, cut)) == errc::corrupt);
  std::string large = ubj;
  const std::size_t at = large.find("[$d#L");
  REQUIRE(at != large.npos);
  large[at + 5] = 0x7f;
  CHECK_THROWS_WITH(forest_of(large), Contains("length") && Contains("byte"));
  CHECK_THROWS_WITH(forest_of(ubj + "x"), Contains("after the end"));
  CHECK_THROWS_WITH(forest_of(replaced(ubj, "[$d#L", "[$H#L")), Contains("type 'H'"));
  // Deep nesting, without anything else.
  std::string deep = "{i" + std::string(1, 1) + "a";
  deep += std::string(1000, '[');
  CHECK_THROWS_WITH(forest_of(deep), Contains("deep"));
}

}  // namespace redoubt
