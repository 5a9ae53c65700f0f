#include "redoubt/data/encoder.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <catch2/catch.hpp>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <new>
#include <set>

#include "redoubt/core/error.hpp"
#include "redoubt/core/parallel.hpp"
#include "redoubt/core/random.hpp"
#include "redoubt/data/archive.hpp"
#include "redoubt/data/csv.hpp"
#include "redoubt/data/dataset.hpp"
#include "redoubt/data/split.hpp"
#include "redoubt/data/transform.hpp"
#include "support/counting_allocator.hpp"
#include "support/test_data.hpp"

using namespace redoubt;

namespace {

constexpr double nothing = std::numeric_limits<double>::quiet_NaN();

struct TableOptions {
  std::size_t rows = 400;
  bool text = true;
  std::size_t classes = 2;  ///< 0: regression, 1: no target
};

/// Every column type with missing cells, extreme numbers and skewed categories.
Dataset table(std::uint64_t seed, const TableOptions& options = {}) {
  Random random(seed);
  Column age, wild, state, day, when, review, source, target;
  age.spec.name = "age";
  wild.spec.name = "wild";
  state.spec = {"state", ColumnType::categorical, ColumnRole::feature, {"CA", "NY", "TX", "WA", "ZZ"}};
  day.spec = {"day", ColumnType::categorical, ColumnRole::feature, {"fri", "mon"}};
  when.spec = {"joined", ColumnType::timestamp, ColumnRole::feature, {}};
  review.spec = {"review", ColumnType::text, ColumnRole::feature, {}};
  source.spec = {"account", ColumnType::categorical, ColumnRole::source, {"a", "b"}};
  target.spec.name = "y";
  target.spec.role = ColumnRole::target;
  if (options.classes >= 2) {
    target.spec.type = ColumnType::categorical;
    for (std::size_t c = 0; c < options.classes; ++c) target.spec.categories.push_back(fmt::format("c{}", c));
  }
  constexpr std::array words{"good", "bad", "battery", "Schön", "broken", "fast", "5", "late", "box", "color"};
  for (std::size_t i = 0; i < options.rows; ++i) {
    const auto gone = [&] { return random.uniform() < 0.1; };
    age.numbers.push_back(gone() ? nothing : std::floor(random.uniform(18, 90)));
    wild.numbers.push_back(gone() ? nothing : std::exp(random.normal() * 200) * (random.uniform() < 0.5 ? -1 : 1));
    state.codes.push_back(gone() ? -1 : static_cast<std::int32_t>(random.below(4)));  // "ZZ" never occurs
    day.codes.push_back(gone() ? -1 : static_cast<std::int32_t>(random.below(2)));
    when.times.push_back(gone() ? missing_time : static_cast<std::int64_t>(random.below(1'700'000'000'000'000ull)));
    std::string text;
    if (!gone())
      for (std::uint64_t w = 1 + random.below(12); w > 0; --w)
        text += fmt::format("{} ", words[random.below(words.size())]);
    review.texts.push_back(text);
    source.codes.push_back(static_cast<std::int32_t>(random.below(2)));
    const double score = (state.codes.back() == 1 ? 2.0 : 0.0) + random.normal();
    if (options.classes >= 2)
      target.codes.push_back(gone() ? -1
                                    : std::min(static_cast<std::int32_t>(options.classes) - 1,
                                               std::max(0, static_cast<std::int32_t>(score))));
    else
      target.numbers.push_back(gone() ? nothing : score);
  }
  std::vector<Column> columns{age, wild, state, day, when};
  if (options.text) columns.push_back(review);
  columns.push_back(source);
  if (options.classes != 1) columns.push_back(target);
  return Dataset(std::move(columns));
}

std::vector<EncoderOptions> all_options() {
  std::vector<EncoderOptions> result;
  for (const auto numeric : {NumericEncoding::raw, NumericEncoding::standardise, NumericEncoding::min_max})
    for (const auto categorical :
         {CategoricalEncoding::ordinal, CategoricalEncoding::one_hot, CategoricalEncoding::target})
      for (const bool impute : {false, true}) {
        EncoderOptions options;
        options.numeric = numeric;
        options.categorical = categorical;
        options.impute = impute;
        options.text_dims = 64;
        options.seed = 5;
        result.push_back(options);
      }
  return result;
}

bool same_bits(std::span<const float> a, std::span<const float> b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size_bytes()) == 0;
}

std::vector<std::byte> bytes(const Encoder& encoder) {
  Archive archive;
  encoder.save(archive);
  return archive.to_bytes();
}

errc code_of(auto&& call) {
  try {
    call();
  } catch (const Error& error) {
    return error.code();
  }
  return errc::ok;
}

}  // namespace

TEST_CASE("dataset, row and raw paths give the same bits", "[encoder]") {
  for (const std::size_t classes : {0u, 2u, 4u}) {
    for (const bool text : {false, true}) {
      const Dataset train = table(1, {.text = text, .classes = classes});
      const Dataset other = table(2, {.rows = 300, .text = text, .classes = classes});
      for (const EncoderOptions& options : all_options()) {
        const Encoder encoder = Encoder::fit(train, options);
        Arena one(1), four(4);
        const Tensor<float> all = encoder.apply(other, &one);
        REQUIRE(same_bits(all.flat(), encoder.apply(other, &four).flat()));
        REQUIRE(all.rows() == other.rows());
        REQUIRE(all.cols() == encoder.width());
        std::vector<float> raw(encoder.inputs()), row(encoder.width());
        for (std::size_t i = 0; i < other.rows(); ++i) {
          encoder.apply(other.row(i), row);
          REQUIRE(same_bits(row, all.row(i)));
          encoder.raw_row(other.row(i), raw);
          std::fill(row.begin(), row.end(), -1.0f);
          if (text) {
            REQUIRE(encoder.apply(raw, row) == errc::unsupported);
          } else {
            REQUIRE(encoder.apply(raw, row) == errc::ok);
            REQUIRE(same_bits(row, all.row(i)));
          }
        }
        for (const float x : all.flat()) REQUIRE(!std::isinf(x));
        if (options.impute && options.categorical != CategoricalEncoding::ordinal)
          for (const float x : all.flat()) REQUIRE(std::isfinite(x));
      }
    }
  }
}

TEST_CASE("an encoder round-trips through the archive", "[encoder]") {
  const Dataset train = table(3, {.classes = 3}), other = table(4, {.classes = 3});
  for (const EncoderOptions& options : all_options()) {
    const Encoder encoder = Encoder::fit(train, options);
    Archive archive;
    encoder.save(archive);
    const Encoder loaded = Encoder::load(Archive::from_bytes(archive.to_bytes()));
    CHECK(bytes(loaded) == bytes(encoder));
    CHECK(same_bits(loaded.apply(other).flat(), encoder.apply(other).flat()));
    CHECK(loaded.schema() == encoder.schema());
    CHECK(loaded.names() == encoder.names());
    CHECK(loaded.origins() == encoder.origins());
    CHECK(loaded.category_counts() == encoder.category_counts());
    CHECK(loaded.has_text());
  }
}

TEST_CASE("rows outside training leave the fitted state bit-identical", "[encoder]") {
  const Dataset train = table(5), tail_a = table(6), tail_b = table(7);
  std::vector<std::size_t> first(train.rows());
  for (std::size_t i = 0; i < first.size(); ++i) first[i] = i;
  // Other rows bring other values and other categories into the same dataset before the split.
  Column state = tail_b.column("state");
  state.spec.categories[2] = "Guam";
  std::fill(state.codes.begin(), state.codes.end(), 2);
  const Dataset with_a = Dataset::concat(train, tail_a).take(first);
  const Dataset with_b = Dataset::concat(train, tail_b.with_column(state)).take(first);
  REQUIRE(with_b.schema() != with_a.schema());
  for (const EncoderOptions& options : all_options()) {
    Tensor<float> a, b;
    CHECK(bytes(Encoder::fit_apply(with_a, options, a)) == bytes(Encoder::fit_apply(with_b, options, b)));
    CHECK(same_bits(a.flat(), b.flat()));
  }
}

TEST_CASE("layout: names, origins, category counts", "[encoder]") {
  EncoderOptions options;
  options.categorical = CategoricalEncoding::one_hot;
  options.text_dims = 2;
  const Encoder hot = Encoder::fit(table(8), options);
  CHECK(hot.names() == std::vector<std::string>{"age", "wild", "state=CA", "state=NY", "state=TX", "state=WA",
                                                "day=fri", "day=mon", "joined", "review#0", "review#1"});
  CHECK(hot.origins() == std::vector<std::uint32_t>{0, 1, 2, 2, 2, 2, 3, 3, 4, 5, 5});
  CHECK(hot.category_counts() == std::vector<std::uint32_t>(11, 0));
  CHECK(hot.inputs() == 6);
  CHECK(hot.schema()[2].categories == std::vector<std::string>{"CA", "NY", "TX", "WA"});  // "ZZ" never occurred

  options.categorical = CategoricalEncoding::ordinal;
  const Encoder ordinal = Encoder::fit(table(8), options);
  CHECK(ordinal.category_counts() == std::vector<std::uint32_t>{0, 0, 4, 2, 0, 0, 0});

  options.categorical = CategoricalEncoding::target;
  CHECK(Encoder::fit(table(8), options).names()[2] == "state~c1");
  const auto multi = Encoder::fit(table(8, {.classes = 3}), options).names();
  CHECK(std::vector<std::string>(multi.begin() + 2, multi.begin() + 5) ==
        std::vector<std::string>{"state~c0", "state~c1", "state~c2"});
  CHECK(Encoder::fit(table(8, {.classes = 0}), options).names()[2] == "state~mean");
}

TEST_CASE("columns are matched by name and categories by name", "[encoder]") {
  const Dataset train = table(9, {.text = false});
  const Encoder encoder = Encoder::fit(train, EncoderOptions::for_trees());
  // Other column order, an extra column, other category order and an unknown category.
  Column extra, age, wild, state, day, joined;
  extra.spec.name = "extra";
  extra.numbers = {1, 2, 3};
  age.spec.name = "age";
  age.numbers = {33, 44, nothing};
  wild.spec.name = "wild";
  wild.numbers = {1e300, -1e300, 0};
  state.spec = {"state", ColumnType::categorical, ColumnRole::feature, {"WA", "Guam", "CA"}};
  state.codes = {0, 1, 2};
  day.spec = {"day", ColumnType::categorical, ColumnRole::feature, {"mon"}};
  day.codes = {0, -1, 0};
  joined.spec = {"joined", ColumnType::timestamp, ColumnRole::feature, {}};
  joined.times = {0, missing_time, 2'000'000};
  const Dataset data({joined, extra, day, state, wild, age});
  const Tensor<float> out = encoder.apply(data);
  CHECK(out(0, 0) == 33);
  CHECK(std::isnan(out(2, 0)));
  CHECK(out(0, 1) == std::numeric_limits<float>::max());
  CHECK(out(1, 1) == std::numeric_limits<float>::lowest());
  CHECK(out(0, 2) == 3);
  CHECK(std::isnan(out(1, 2)));
  CHECK(out(2, 2) == 0);
  CHECK(out(0, 3) == 1);
  CHECK(std::isnan(out(1, 3)));
  CHECK(std::isnan(out(1, 4)));
  CHECK(out(2, 4) == 2);

  const auto message = [&](const Dataset& wrong) -> std::string {
    try {
      encoder.apply(wrong);
    } catch (const Error& error) {
      return fmt::format("{}: {}", to_string(error.code()), error.what());
    }
    return "";
  };
  const std::string absent = message(Dataset({joined, day, state, age}));
  CHECK(absent.find("not_found") == 0);
  CHECK(absent.find("'wild'") != std::string::npos);
  Column number = age;
  number.spec.name = "state";
  const std::string mistyped = message(Dataset({joined, day, number, wild, age}));
  CHECK(mistyped.find("type_mismatch") == 0);
  CHECK(mistyped.find("numeric") != std::string::npos);
  CHECK(mistyped.find("categorical") != std::string::npos);
  std::vector<float> small(2);
  CHECK(code_of([&] { encoder.apply(data.row(0), small); }) == errc::shape_mismatch);
  CHECK(code_of([&] { encoder.raw_row(data.row(0), small); }) == errc::shape_mismatch);
  std::vector<float> encoded(encoder.width()), raw_cells(encoder.inputs());
  for (const std::size_t beyond : {data.rows(), data.rows() + 100'000'000}) {
    CHECK(code_of([&] { encoder.apply(data.row(beyond), encoded); }) == errc::invalid_argument);
    CHECK(code_of([&] { encoder.raw_row(data.row(beyond), raw_cells); }) == errc::invalid_argument);
  }
  CHECK(encoder.apply(small, small) == errc::shape_mismatch);
}

TEST_CASE("missing times are imputed like numbers", "[encoder]") {
  Column when;
  when.spec = {"when", ColumnType::timestamp, ColumnRole::feature, {}};
  when.times = {1'000'000, missing_time, 3'000'000, 8'000'000};
  EncoderOptions options;
  options.impute = true;
  const Dataset data({when});
  CHECK(Encoder::fit(data, options).apply(data)(1, 0) == 3.0f);
}

TEST_CASE("out-of-fold target encoding hides a row's own label", "[encoder]") {
  // Every row has a category of its own and a random label: in-sample means would give the label away.
  Random random(10);
  Column id, target;
  id.spec = {"id", ColumnType::categorical, ColumnRole::feature, {}};
  target.spec = {"y", ColumnType::categorical, ColumnRole::target, {"no", "yes"}};
  for (int i = 0; i < 500; ++i) {
    id.spec.categories.push_back(fmt::format("id{:03}", i));
    id.codes.push_back(i);
    target.codes.push_back(static_cast<std::int32_t>(random.below(2)));
  }
  const Dataset data({id, target});
  EncoderOptions options;
  options.categorical = CategoricalEncoding::target;
  options.target_smoothing = 0;
  Tensor<float> encoded;
  const Encoder encoder = Encoder::fit_apply(data, options, encoded);
  const Tensor<float> leaking = encoder.apply(data);
  std::set<float> values;
  for (std::size_t i = 0; i < 500; ++i) {
    CHECK(leaking(i, 0) == static_cast<float>(target.codes[i]));
    values.insert(encoded(i, 0));
  }
  CHECK(values.size() <= 5);  // the prior of each fold, nothing else

  // Changing one label changes that row's own out-of-fold value not at all.
  const std::size_t changed = 123;
  target.codes[changed] ^= 1;
  Tensor<float> again;
  Encoder::fit_apply(Dataset({id, target}), options, again);
  // Folds are stratified, so they may move; compare with the folds of the changed data.
  const auto folds = fold_ids(Dataset({id, target}), 5, options.seed);
  double others = 0, count = 0;
  for (std::size_t i = 0; i < 500; ++i) {
    if (folds[i] == folds[changed]) continue;
    others += target.codes[i];
    ++count;
  }
  CHECK(again(changed, 0) == static_cast<float>(others / count));
}

TEST_CASE("out-of-fold target encoding equals a naive reference", "[encoder]") {
  for (const std::size_t classes : {0u, 2u, 3u}) {
    const Dataset data = table(11, {.text = false, .classes = classes});
    EncoderOptions options;
    options.categorical = CategoricalEncoding::target;
    options.seed = 3;
    Tensor<float> encoded;
    Encoder::fit_apply(data, options, encoded);
    const auto folds = fold_ids(data, 5, 3);
    const auto codes = data.column("state").codes;
    const std::size_t outputs = classes == 3 ? 3 : 1;
    const auto target = [&](std::size_t row, std::size_t o) {
      if (classes == 0) return data.targets()[row];
      const std::int32_t label = data.labels()[row];
      return label < 0 ? nothing : label == static_cast<std::int32_t>(classes == 2 ? 1 : o) ? 1.0 : 0.0;
    };
    for (std::size_t row = 0; row < data.rows(); ++row) {
      for (std::size_t o = 0; o < outputs; ++o) {
        double sum = 0, count = 0, all = 0, all_count = 0;
        for (std::size_t i = 0; i < data.rows(); ++i) {
          if (folds[i] == folds[row] || std::isnan(target(i, o))) continue;
          all += target(i, o);
          ++all_count;
          if (codes[i] == codes[row] && codes[row] >= 0) {
            sum += target(i, o);
            ++count;
          }
        }
        REQUIRE(std::abs(encoded(row, 2 + o) - (sum + 10 * all / all_count) / (count + 10)) < 1e-6);
      }
    }
  }
}

TEST_CASE("fit_apply differs from fit and apply in target-encoded columns only", "[encoder]") {
  const Dataset data = table(12, {.classes = 3});
  for (const EncoderOptions& options : all_options()) {
    Tensor<float> encoded;
    const Encoder encoder = Encoder::fit_apply(data, options, encoded);
    CHECK(bytes(encoder) == bytes(Encoder::fit(data, options)));
    const Tensor<float> applied = encoder.apply(data);
    const auto names = encoder.names();
    for (std::size_t c = 0; c < encoder.width(); ++c) {
      bool equal = true;
      for (std::size_t i = 0; i < data.rows(); ++i)
        equal = equal && std::memcmp(&encoded(i, c), &applied(i, c), sizeof(float)) == 0;
      CAPTURE(names[c]);
      CHECK(equal == (names[c].find('~') == std::string::npos));
    }
  }
}

TEST_CASE("the raw path and the row path allocate nothing", "[encoder]") {
  const Dataset plain = table(13, {.text = false}), text = table(13);
  for (const EncoderOptions& options : all_options()) {
    const Encoder encoder = Encoder::fit(plain, options), with_text = Encoder::fit(text, options);
    std::vector<float> raw(encoder.inputs()), row(encoder.width()), text_row(with_text.width());
    encoder.raw_row(plain.row(0), raw);
    const std::size_t before = test::allocations.load();
    bool fine = true;
    for (std::size_t i = 0; i < plain.rows(); ++i) {
      encoder.raw_row(plain.row(i), raw);
      fine = fine && encoder.apply(raw, row) == errc::ok;
      encoder.apply(plain.row(i), row);
      with_text.apply(text.row(i), text_row);
    }
    const std::size_t after = test::allocations.load();
    CHECK(fine);
    CHECK(after - before == 0);
  }
}

TEST_CASE("hostile raw rows give finite values or NaN", "[encoder]") {
  const Dataset train = table(14, {.text = false});
  Random random(14);
  constexpr std::array<float, 8> odd{std::numeric_limits<float>::infinity(),
                                     -std::numeric_limits<float>::infinity(),
                                     std::numeric_limits<float>::quiet_NaN(),
                                     std::numeric_limits<float>::max(),
                                     std::numeric_limits<float>::lowest(),
                                     -0.5f,
                                     1e10f,
                                     std::numeric_limits<float>::denorm_min()};
  for (const EncoderOptions& options : all_options()) {
    const Encoder encoder = Encoder::fit(train, options);
    std::vector<float> raw(encoder.inputs()), row(encoder.width());
    for (int i = 0; i < 200; ++i) {
      for (float& x : raw) x = odd[random.below(odd.size())];
      REQUIRE(encoder.apply(raw, row) == errc::ok);
      for (const float x : row) REQUIRE(!std::isinf(x));
    }
  }
}

TEST_CASE("an encoder refuses what it cannot learn from", "[encoder]") {
  const Dataset data = table(15, {.text = false, .classes = 1});
  CHECK(code_of([&] { Encoder::fit(data.seal(), {}); }) == errc::refused);
  EncoderOptions options;
  options.categorical = CategoricalEncoding::target;
  CHECK(code_of([&] { Encoder::fit(data, options); }) == errc::invalid_argument);  // no target
  options.target_smoothing = -1;
  CHECK(code_of([&] { Encoder::fit(data, options); }) == errc::invalid_argument);
  options = {};
  options.text_dims = 100;
  CHECK(code_of([&] { Encoder::fit(table(15), options); }) == errc::invalid_argument);
  Column only;
  only.spec = {"y", ColumnType::numeric, ColumnRole::target, {}};
  only.numbers = {1, 2};
  CHECK(code_of([&] { Encoder::fit(Dataset({only}), {}); }) == errc::invalid_argument);  // no features
}

TEST_CASE("identity encoders keep every category", "[encoder]") {
  const Dataset data = table(16, {.text = false});
  const Encoder encoder = Encoder::identity(data.schema());
  CHECK(encoder.names() == std::vector<std::string>{"age", "wild", "state", "day", "joined"});
  CHECK(encoder.category_counts() == std::vector<std::uint32_t>{0, 0, 5, 2, 0});
  CHECK(same_bits(encoder.apply(data).flat(), Encoder::fit(data, EncoderOptions::for_trees()).apply(data).flat()));
  CHECK(code_of([&] { Encoder::identity(table(16).schema()); }) == errc::unsupported);
}

TEST_CASE("a default or moved-from encoder is empty or whole, never broken", "[encoder]") {
  Encoder empty;
  CHECK(empty.width() == 0);
  CHECK(empty.inputs() == 0);
  CHECK(empty.names().empty());
  Encoder fitted = Encoder::fit(table(17), {});
  const std::size_t width = fitted.width();
  const Encoder moved = std::move(fitted);
  CHECK(moved.width() == width);
  CHECK(fitted.width() == width);  // NOLINT: documented to stay usable
}

TEST_CASE("real data encodes the same on every path", "[encoder]") {
  REDOUBT_NEED_DATA(train_path, "adult_keele_modified/adult.data");
  REDOUBT_NEED_DATA(test_path, "adult_keele_modified/adult.test");
  CsvOptions read;
  read.target = "income";
  read.target_suffix = ".";
  const Dataset train = read_csv(train_path, read), test = read_csv(test_path, read);
  REQUIRE(train.rows() == 32561);
  REQUIRE(test.rows() == 16281);
  for (const EncoderOptions& options : {EncoderOptions::for_trees(), EncoderOptions::dense()}) {
    const Encoder encoder = Encoder::fit(train, options);
    const Tensor<float> all = encoder.apply(test);
    std::vector<float> raw(encoder.inputs()), row(encoder.width()), view(encoder.width());
    bool same = true;
    for (std::size_t i = 0; i < test.rows(); i += 7) {
      encoder.raw_row(test.row(i), raw);
      same = same && encoder.apply(raw, row) == errc::ok && same_bits(row, all.row(i));
      encoder.apply(test.row(i), view);
      same = same && same_bits(view, all.row(i));
    }
    CHECK(same);
    if (options.categorical != CategoricalEncoding::one_hot) continue;
    // Standardised numbers have mean 0 and deviation 1 on the training rows, one-hot groups sum to 0 or 1.
    const Tensor<float> fitted = encoder.apply(train);
    const auto origins = encoder.origins();
    for (std::size_t c = 0; c < encoder.width(); ++c) {
      const ColumnSpec& spec = encoder.schema()[origins[c]];
      double sum = 0, squares = 0;
      for (std::size_t i = 0; i < fitted.rows(); ++i) {
        sum += fitted(i, c);
        squares += static_cast<double>(fitted(i, c)) * fitted(i, c);
      }
      CAPTURE(spec.name);
      if (spec.type == ColumnType::numeric) {
        CHECK(std::abs(sum / 32561) < 1e-6);
        CHECK(std::abs(squares / 32561 - 1) < 1e-5);
      } else {
        CHECK(sum > 0);  // only categories that occur
        CHECK(sum == squares);
      }
    }
  }
}

TEST_CASE("damaged archives are corrupt, not undefined", "[encoder]") {
  EncoderOptions options;
  options.text_dims = 64;
  options.categorical = CategoricalEncoding::target;
  const Encoder encoder = Encoder::fit(table(18), options);
  Archive good;
  encoder.save(good);
  const auto load_with = [&](auto&& damage) {
    Archive archive = good;
    damage(archive);
    return code_of([&] { Encoder::load(archive); });
  };
  CHECK(load_with([](Archive&) {}) == errc::ok);
  CHECK(load_with([](Archive& a) { a.set_int("encoder.format", 2); }) == errc::unsupported);
  CHECK(load_with([](Archive& a) { a.set("encoder.numeric", "cubic"); }) == errc::corrupt);
  CHECK(load_with([](Archive& a) { a.set_int("encoder.text_ngrams", 99); }) == errc::corrupt);
  CHECK(load_with([](Archive& a) { a.set_int("encoder.text_ngrams", 0); }) == errc::corrupt);
  CHECK(load_with([](Archive& a) { a.set_int("encoder.text_dims", -5); }) == errc::corrupt);
  CHECK(load_with([](Archive& a) { a.set_list("encoder.types", std::vector<std::string>{"numeric"}); }) ==
        errc::corrupt);
  CHECK(load_with([](Archive& a) {
          a.set_list("encoder.names", std::vector<std::string>{"age", "age", "state", "day", "joined", "review"});
        }) == errc::corrupt);
  CHECK(load_with([](Archive& a) { a.set_list("encoder.categories.2", std::vector<std::string>{"CA"}); }) ==
        errc::corrupt);
  CHECK(load_with([](Archive& a) { a.set_list("encoder.target_names", std::vector<std::string>{}); }) == errc::corrupt);
  CHECK(load_with([](Archive& a) { a.put("encoder.idf.5", std::vector<float>(63, 1.0f)); }) == errc::corrupt);
  CHECK(load_with([](Archive& a) { a.put("encoder.idf.5", std::vector<float>(64, std::nanf(""))); }) == errc::corrupt);
  CHECK(load_with([](Archive& a) { a.put("encoder.idf.5", std::vector<double>(64, 1.0)); }) == errc::corrupt);
  CHECK(load_with([](Archive& a) { a.put("encoder.numbers", std::vector<double>(18, 1.0)); }) == errc::corrupt);
  CHECK(load_with([](Archive& a) {
          a.put<double>("encoder.numbers", std::vector<double>(18, 0.0), std::array<std::size_t, 2>{6, 3});
        }) == errc::corrupt);  // scale 0
  CHECK(code_of([] { Encoder::load(Archive()); }) == errc::corrupt);
}
