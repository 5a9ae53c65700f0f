#include "redoubt/kernels/histogram.hpp"

#include <algorithm>
#include <array>
#include <catch2/catch.hpp>
#include <cmath>
#include <limits>
#include <numeric>
#include <vector>

#include "kernels/bagging.hpp"
#include "kernels/grow.hpp"

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

// --- the kernels that grow trees, against their references at every level ---

using namespace redoubt::kernels::detail;

namespace {

constexpr float infinite = std::numeric_limits<float>::infinity();

std::vector<const GrowTable*> levels() {
  std::vector<const GrowTable*> tables;
  for (const Isa isa : {Isa::avx2, Isa::avx512})
    if (isa <= detected_isa() && grow_table_for(isa).isa > 0) tables.push_back(&grow_table_for(isa));
#if defined(__x86_64__)
  REQUIRE(tables.size() == static_cast<std::size_t>(std::min(detected_isa(), Isa::avx512)));  // one per level
#endif
  return tables;
}

/// A share of 0 .. bound - 1, ascending.
std::vector<std::uint32_t> some_rows(std::size_t bound, double share, Random& random) {
  std::vector<std::uint32_t> rows;
  for (std::uint32_t r = 0; r < bound; ++r)
    if (random.uniform() < share) rows.push_back(r);
  return rows;
}

std::vector<std::uint32_t> random_pairs(std::size_t n, Random& random) {
  std::vector<std::uint32_t> pairs(n);
  for (auto& p : pairs) {
    const auto g = static_cast<std::int32_t>(random.below(2 * grow_largest_g + 1)) - grow_largest_g;
    p = static_cast<std::uint32_t>(g) << 16 | static_cast<std::uint32_t>(random.below(grow_largest_h + 1));
  }
  return pairs;
}

}  // namespace

TEST_CASE("gradients are rounded up or down at random, and whole ones are kept", "[grow]") {
  Random random(1);
  const std::size_t rows = 20000;
  std::vector<float> g(rows), h(rows);
  for (std::size_t r = 0; r < rows; ++r) {
    g[r] = static_cast<float>(random.uniform(-8191, 8191));
    h[r] = static_cast<float>(random.uniform(0, 16383));
    if (r % 3 == 0) {
      g[r] = std::round(g[r]);
      h[r] = std::round(h[r]);
    }
  }
  std::vector<std::uint32_t> naive(rows);
  std::int64_t sums[2] = {5, 6};
  naive_grow_table.quantise(g.data(), h.data(), nullptr, 0, rows, 1, 1, 0x123456789abcdef, naive.data(), sums);
  double errors[2] = {}, g_total = 5, h_total = 6;
  for (std::size_t r = 0; r < rows; ++r) {
    const auto a = static_cast<std::int32_t>(naive[r]) >> 16;
    const auto b = static_cast<std::int32_t>(naive[r] & 0xffff);
    REQUIRE(std::abs(static_cast<float>(a) - g[r]) <= (r % 3 == 0 ? 0 : 1));
    REQUIRE(std::abs(static_cast<float>(b) - h[r]) <= (r % 3 == 0 ? 0 : 1));
    errors[0] += a - g[r];
    errors[1] += b - h[r];
    g_total += a;
    h_total += b;
  }
  CHECK(sums[0] == g_total);
  CHECK(sums[1] == h_total);
  for (const double e : errors) CHECK(std::abs(e) < 5 * std::sqrt(rows * 2 / 3.0 / 6));
  for (const GrowTable* table : levels()) {
    for (const double share : {1.0, 0.3, 0.0003}) {
      const auto chosen = some_rows(rows, share, random);
      if (chosen.empty()) continue;
      const std::size_t n = chosen.size();
      std::vector<std::uint32_t> out(n), expected(n);
      std::int64_t sum[2] = {}, expected_sum[2] = {};
      const std::uint32_t* listed = share == 1 ? nullptr : chosen.data();
      table->quantise(g.data(), h.data(), listed, 0, n, 0.9f, 0.8f, 77, out.data(), sum);
      naive_grow_table.quantise(g.data(), h.data(), listed, 0, n, 0.9f, 0.8f, 77, expected.data(), expected_sum);
      CHECK(out == expected);
      CHECK(sum[0] == expected_sum[0]);
      CHECK(sum[1] == expected_sum[1]);
      float low, high, expected_low, expected_high;
      table->bounds(g.data(), listed, n, &low, &high);
      naive_grow_table.bounds(g.data(), listed, n, &expected_low, &expected_high);
      CHECK(low == expected_low);
      CHECK(high == expected_high);
    }
  }
}

TEST_CASE("sums of more gradients than 32 bits hold are whole", "[grow]") {
  const std::size_t rows = 600'001;
  const std::vector<float> g(rows, -grow_largest_g), h(rows, grow_largest_h - 1);
  std::vector<std::uint32_t> out(rows);
  for (const GrowTable* table : levels()) {
    std::int64_t sums[2] = {};
    table->quantise(g.data(), h.data(), nullptr, 0, rows, 1, 1, 5, out.data(), sums);
    CHECK(sums[0] == -std::int64_t{grow_largest_g} * std::int64_t{rows});
    CHECK(sums[1] == std::int64_t{grow_largest_h - 1} * std::int64_t{rows});
  }
}

TEST_CASE("histograms of blocks add up to the sums per bin", "[grow]") {
  Random random(2);
  for (const GrowTable* table : levels()) {
    for (const std::size_t n : {0u, 1u, 7u, 8u, 31u, 1000u, std::uint32_t{grow_block_rows}}) {
      const std::size_t stride = 40, all = 2 * n + 1;
      std::vector<std::uint8_t> codes(all * stride);
      for (auto& c : codes) c = static_cast<std::uint8_t>(random.below(3) ? random() : 9);
      std::vector<std::uint32_t> rows;
      for (std::uint32_t i = 0; i < n; ++i) rows.push_back(2 * i + static_cast<std::uint32_t>(random.below(2)));
      const auto pairs = random_pairs(n, random);
      for (const std::size_t groups : {1u, 3u, 4u}) {
        for (const int way : {0, 1, 2, 3}) {
          const std::uint32_t* list = way % 2 ? rows.data() : nullptr;
          std::vector<std::uint8_t> places(32);
          for (auto& p : places) p = static_cast<std::uint8_t>(random.below(32));
          const std::uint8_t* order = way / 2 ? places.data() : nullptr;
          std::vector<std::uint64_t> out(groups * (n + 3)), expected = out;
          table->gather(codes.data(), stride, list, 1, n, groups, order, out.data(), n + 3);
          naive_grow_table.gather(codes.data(), stride, list, 1, n, groups, order, expected.data(), n + 3);
          REQUIRE(out == expected);
        }
      }
      std::vector<std::uint64_t> row_codes(n + 1), wide(n + 1), wide_expected(n + 1);
      naive_grow_table.gather(codes.data(), stride, rows.data(), 0, n, 1, nullptr, row_codes.data(), n);
      table->expand(pairs.data(), n, wide.data());
      naive_grow_table.expand(pairs.data(), n, wide_expected.data());
      REQUIRE(wide == wide_expected);
      for (std::size_t columns = 1; columns <= 8; ++columns) {
        std::vector<std::uint64_t> bins(2048), expected(2048);
        table->accumulate(row_codes.data(), wide.data(), n, columns, bins.data(), codes.data(), stride, rows.data(),
                          n / 2);
        naive_grow_table.accumulate(row_codes.data(), wide.data(), n, columns, expected.data(), nullptr, 0, nullptr, 0);
        REQUIRE(bins == expected);
        std::array<const std::uint8_t*, 8> of;  // overlapping columns of the same bytes
        for (std::size_t c = 0; c < 8; ++c) of[c] = codes.data() + 3 * c;
        std::vector<std::uint64_t> by_column(2048), by_column_expected(2048);
        const std::size_t count = std::min(n, codes.size() - 21);
        table->accumulate_by_column(of.data(), wide.data(), count, columns, by_column.data());
        naive_grow_table.accumulate_by_column(of.data(), wide.data(), count, columns, by_column_expected.data());
        REQUIRE(by_column == by_column_expected);
        for (const bool add : {false, true}) {
          std::vector<std::int64_t> g(256, 3), g_naive(256, 3);
          std::vector<std::uint64_t> hn(256, 5), hn_naive(256, 5), copy = bins;
          table->flush(bins.data(), 256, 20, add, g.data(), hn.data());
          naive_grow_table.flush(copy.data(), 256, 20, add, g_naive.data(), hn_naive.data());
          REQUIRE(bins == copy);
          REQUIRE(g == g_naive);
          REQUIRE(hn == hn_naive);
          // Against the definition.
          std::vector<std::int64_t> g_sum(256, add ? 3 : 0), h_sum(256), n_sum(256);
          for (std::size_t i = 0; i < n; ++i) {
            const auto code = codes[rows[i] * stride];
            g_sum[code] += static_cast<std::int32_t>(pairs[i]) >> 16;
            h_sum[code] += pairs[i] & 0xffff;
            ++n_sum[code];
          }
          if (add) break;  // the bins are clear by now
          for (std::size_t b = 0; b < 256; ++b) {
            REQUIRE(g[b] == g_sum[b]);
            REQUIRE(hn[b] == (static_cast<std::uint64_t>(h_sum[b]) << 20) + static_cast<std::uint64_t>(n_sum[b]));
          }
          std::vector<std::int64_t> g_less = g;
          std::vector<std::uint64_t> hn_less = hn;
          table->subtract(g_less.data(), hn_less.data(), g.data(), hn.data(), 251);
          for (std::size_t b = 0; b < 256; ++b) {
            REQUIRE(g_less[b] == (b < 251 ? 0 : g[b]));
            REQUIRE(hn_less[b] == (b < 251 ? 0 : hn[b]));
          }
        }
      }
    }
  }
}

TEST_CASE("bins are folded into sums of runs and one run", "[grow]") {
  Random random(9);
  std::vector<const GrowTable*> tables = levels();
  tables.push_back(&naive_grow_table);
  for (const GrowTable* table : tables) {
    for (int trial = 0; trial < 300; ++trial) {
      const std::size_t length = 1 + random.below(trial % 2 ? 20 : 128), runs = 1 + random.below(256 / length);
      std::vector<std::uint64_t> bins(length * runs + 1, 7), first(length), sums(runs + 1, 7),
          sums_expected(runs + 1, 7);
      std::fill_n(sums_expected.begin(), runs, 0);
      for (std::size_t i = 0; i < length * runs; ++i) {
        bins[i] = random();
        first[i % length] += bins[i];
        sums_expected[i / length] += bins[i];
      }
      table->fold(bins.data(), length, runs, sums.data());
      REQUIRE(sums == sums_expected);
      first.resize(length * runs);
      first.push_back(7);
      REQUIRE(bins == first);
    }
  }
}

TEST_CASE("rows go to their side in order and nothing is written beyond", "[grow]") {
  Random random(3);
  std::vector<const GrowTable*> tables = levels();
  tables.push_back(&naive_grow_table);
  for (const GrowTable* table : tables) {
    for (const std::size_t n : {1u, 15u, 16u, 17u, 33u, 500u}) {
      for (const double share : {0.0, 0.02, 0.5, 1.0}) {
        const std::size_t all = 3 * n;
        std::vector<std::uint8_t> codes(all + 3);
        for (auto& c : codes) c = static_cast<std::uint8_t>(random());
        std::vector<std::uint32_t> rows = some_rows(all, 0.5, random);
        rows.resize(std::min(rows.size(), n));
        if (rows.empty()) continue;
        std::uint32_t set[8] = {};
        for (std::uint32_t b = 0; b < 256; ++b)
          if (random.uniform() < share) set[b / 32] |= 1u << (b % 32);
        const auto pairs = random_pairs(rows.size(), random);
        for (const bool listed : {true, false}) {
          const std::uint32_t* list = listed ? rows.data() : nullptr;
          const auto row = [&](std::size_t i) { return listed ? rows[i] : static_cast<std::uint32_t>(2 + i); };
          const std::size_t m = rows.size();
          std::vector<std::uint16_t> masks((m + 15) / 16, 0xffff);
          const std::size_t lefts = table->mark(codes.data(), list, 2, m, set, masks.data());
          std::vector<std::uint32_t> left_rows, right_rows, left_pairs, right_pairs;
          for (std::size_t i = 0; i < m; ++i) {
            const auto code = codes[row(i)];
            const bool left = set[code / 32] >> (code % 32) & 1;
            (left ? left_rows : right_rows).push_back(row(i));
            (left ? left_pairs : right_pairs).push_back(pairs[i]);
          }
          REQUIRE(lefts == left_rows.size());
          std::vector<std::uint32_t> out_rows(m + 1, 7), out_pairs(m + 1, 7);
          // Sides beside each other, as in the grower: an overrun would show.
          table->split(list, 2, pairs.data(), masks.data(), m, lefts, out_rows.data(), out_pairs.data(),
                       out_rows.data() + lefts, out_pairs.data() + lefts);
          left_rows.insert(left_rows.end(), right_rows.begin(), right_rows.end());
          left_pairs.insert(left_pairs.end(), right_pairs.begin(), right_pairs.end());
          left_rows.push_back(7);
          left_pairs.push_back(7);
          REQUIRE(out_rows == left_rows);
          REQUIRE(out_pairs == left_pairs);
        }
      }
    }
  }
}

TEST_CASE("sums of a block are taken and subtracted", "[grow]") {
  Random random(6);
  for (const GrowTable* table : levels()) {
    for (const std::size_t count : {1u, 3u, 8u, 17u, 255u, 256u}) {
      std::vector<std::uint64_t> bins(264), less(count), out(264, 7);
      for (std::size_t b = 0; b < count; ++b) bins[b] = random.below(1u << 31);
      for (auto& v : less) v = random.below(1u << 30);
      std::vector<std::uint64_t> expected(bins.begin(), bins.begin() + static_cast<std::ptrdiff_t>(count));
      table->take(bins.data(), count, out.data());
      REQUIRE(std::vector(out.begin(), out.begin() + static_cast<std::ptrdiff_t>(count)) == expected);
      REQUIRE(std::count(bins.begin(), bins.end(), 0u) == 264);
      std::vector<std::uint64_t> difference(count + 1, 7);
      table->difference(out.data(), less.data(), count, difference.data());
      table->difference(out.data(), less.data(), count, out.data());
      for (std::size_t b = 0; b < count; ++b) {
        REQUIRE(difference[b] == expected[b] - less[b]);
        REQUIRE(out[b] == difference[b]);
      }
      REQUIRE(difference[count] == 7);
    }
  }
}

TEST_CASE("streamed rows arrive, and nothing beside them", "[grow]") {
  for (const GrowTable* table : levels()) {
    std::vector<std::uint32_t> src(300), dst(340);
    for (std::size_t i = 0; i < src.size(); ++i) src[i] = static_cast<std::uint32_t>(i + 1);
    for (std::size_t offset = 0; offset < 20; ++offset) {
      for (const std::size_t n : {0u, 1u, 5u, 16u, 17u, 100u, 299u}) {
        std::fill(dst.begin(), dst.end(), 0u);
        table->stream(src.data() + offset % 2, n, dst.data() + offset);
        std::vector<std::uint32_t> expected(dst.size());
        std::copy_n(src.data() + offset % 2, n, expected.data() + offset);
        REQUIRE(dst == expected);
      }
    }
  }
}

TEST_CASE("the best cut is that of the naive scan, bit for bit", "[grow]") {
  Random random(4);
  for (const GrowTable* table : levels()) {
    int found = 0, found_alone = 0, to_the_left = 0;
    for (int trial = 0; trial < 3000; ++trial) {
      std::vector<std::int64_t> g(264);
      std::vector<std::uint64_t> hn(264);
      SplitScan in{};
      in.bins = 1 + static_cast<std::uint32_t>(random.below(256));
      in.count_bits = 12;
      const bool ties = random.below(3) == 0;
      const std::uint64_t hessians = ties ? 2 : random.below(2) ? 300 : grow_largest_h + 1;
      for (std::size_t b = 0; b < 264; ++b) {
        const std::uint64_t n = random.below(4) ? random.below(5) : 0;
        hn[b] = (n * random.below(hessians) << 12) + n;
        g[b] = n ? static_cast<std::int64_t>(random.below(ties ? 3 : 4001)) - (ties ? 1 : 2000) : 0;
      }
      if (random.below(2)) {
        in.missing_hn = (random.below(5000) << 12) + 1 + random.below(30);
        in.missing_g = static_cast<std::int64_t>(random.below(40001)) - 20000;
      }
      in.total_g = in.missing_g;
      in.total_hn = in.missing_hn;
      for (std::uint32_t b = 0; b < in.bins; ++b) {
        in.total_g += g[b];
        in.total_hn += hn[b];
      }
      in.g = g.data();
      in.hn = hn.data();
      in.min_rows = 1 + random.below(40);
      in.min_hessian = random.below(2) ? 0 : random.below(1000);
      in.l2 = random.below(2) ? 0 : random.uniform(0, 100);
      if (in.l2 == 0) in.min_hessian = std::max<std::uint64_t>(in.min_hessian, 1);
      SplitFound a, b;
      table->scan(in, &a);
      naive_grow_table.scan(in, &b);
      REQUIRE(a.score == b.score);
      REQUIRE(a.bin == b.bin);
      REQUIRE(a.missing_left == b.missing_left);
      found += a.score >= 0;
      to_the_left += static_cast<int>(a.missing_left);
      {
        // The same bins as sums over a block of rows.
        std::vector<std::uint64_t> sums(272);
        for (std::size_t k = 0; k < hn.size(); ++k)
          sums[k] = (static_cast<std::uint64_t>(g[k]) << grow_g_at) + ((hn[k] >> 12) << grow_h_at) + (hn[k] & 4095);
        SplitScan compact = in;
        compact.g = nullptr;
        compact.hn = nullptr;
        compact.sums = sums.data();
        SplitFound c;
        table->scan(compact, &c);
        REQUIRE(c.score == b.score);
        REQUIRE(c.bin == b.bin);
        REQUIRE(c.missing_left == b.missing_left);
        // A floor hides nothing that reaches it, or nearly.
        for (SplitScan* with_floor : {&in, &compact}) {
          with_floor->floor = b.score * (1 + 1e-10);
          table->scan(*with_floor, &c);
          REQUIRE(c.score == b.score);
          REQUIRE(c.bin == b.bin);
          with_floor->floor = b.score * 1.5 + 1;
          table->scan(*with_floor, &c);
          REQUIRE(c.score <= b.score);
          with_floor->floor = 0;
        }
      }
      in.min_rows = 1 + random.below(4);
      std::vector<std::uint32_t> ids(264);
      for (auto& id : ids) id = random.below(5) ? static_cast<std::uint32_t>(random.below(300)) : no_bin;
      if (trial % 3) in.ids = ids.data();
      table->scan_each(in, &a);
      naive_grow_table.scan_each(in, &b);
      REQUIRE(a.score == b.score);
      REQUIRE(a.bin == b.bin);
      REQUIRE(a.missing_left == 0);
      REQUIRE(b.missing_left == 0);
      found_alone += a.score >= 0;
    }
    CHECK(found > 1500);
    CHECK(found_alone > 300);
    CHECK(to_the_left > 300);
  }
}

TEST_CASE("values get the bin that counts the cuts below them", "[grow]") {
  Random random(5);
  for (const GrowTable* table : levels()) {
    for (const std::size_t count : {1u, 2u, 16u, 17u, 100u, 254u, 255u}) {
      std::vector<float> cuts(256, infinite);
      for (std::size_t i = 0; i + 1 < count; ++i) cuts[i] = static_cast<float>(random.normal());
      std::sort(cuts.begin(), cuts.end());
      std::vector<float> x = {infinite, -infinite, 0.0f, -0.0f, std::numeric_limits<float>::quiet_NaN()};
      for (std::size_t i = 0; i + 1 < count; ++i)
        for (const float v : {cuts[i], std::nextafter(cuts[i], infinite), std::nextafter(cuts[i], -infinite)})
          x.push_back(v);
      for (const std::size_t stride : {1u, 3u}) {
        std::vector<float> spread(x.size() * stride);
        for (std::size_t i = 0; i < x.size(); ++i) spread[i * stride] = x[i];
        std::vector<std::uint8_t> out(x.size()), naive(x.size());
        table->assign(spread.data(), stride, x.size(), cuts.data(), count, out.data());
        naive_grow_table.assign(spread.data(), stride, x.size(), cuts.data(), count, naive.data());
        REQUIRE(out == naive);
        for (std::size_t i = 0; i < x.size(); ++i) {
          std::size_t below = 0;
          for (std::size_t c = 0; c + 1 < count; ++c) below += cuts[c] < x[i];
          REQUIRE(out[i] == (std::isnan(x[i]) ? count : below));
        }
      }
    }
  }
}

TEST_CASE("the best cut of two classes is that of the naive kernel, bit by bit", "[histogram]") {
  const BaggingTable& table = bagging_table_for(detected_isa());
  if (table.isa == 0) {
    WARN("SKIPPED: this machine has no kernel of its own");
    return;
  }
  Random random(5);
  for (int round = 0; round < 3000; ++round) {
    INFO("round " << round);
    const std::size_t count = 1 + random.below(255);
    const auto gaps = static_cast<std::uint32_t>(random.below(3));
    // Few bins and few rows often: equal scores, empty bins, one side empty.
    const std::uint64_t spread = 1 + random.below(round % 2 ? count : std::min<std::size_t>(count, 6));
    TwoClassRows rows{nullptr, 1 + random.below(64), 0, {}};
    std::vector<std::uint64_t> pairs(rows.count), bins(256);
    std::vector<unsigned char> codes(64, static_cast<unsigned char>(random()));
    const bool heavy = round % 5 == 0;
    std::uint64_t missing = 0;
    for (std::size_t i = 0; i < rows.count; ++i) {
      const std::uint64_t weight = 1 + random.below(heavy ? 7 : 2), one = random.below(2) ? weight : 0;
      pairs[i] = weight << 32 | one;
      const bool is_gap = gaps > 0 && random.below(gaps == 1 ? 2 : 9) == 0;
      codes[i] = static_cast<unsigned char>(is_gap ? count : (random.below(2) + 1) * random.below(spread) / 2);
      rows.total += pairs[i];
      bins[codes[i]] += pairs[i];
      missing += is_gap ? pairs[i] : 0;
    }
    rows.rows = pairs.data();
    kernels::naive::two_class_planes(pairs.data(), rows.count, &rows.planes);
    const auto same = [](const TwoClassCut& a, const TwoClassCut& b) {
      return a.score == b.score && a.left == b.left && a.bin == b.bin && a.missing_left == b.missing_left;
    };
    TwoClassCut expected, found;
    kernels::naive::two_class_cut(bins.data(), count, missing, rows.total, &expected);
    table.cut(bins.data(), count, missing, rows.total, &found);
    CHECK(same(found, expected));
    table.cut_rows(rows, codes.data(), static_cast<unsigned>(count), &found);
    CHECK(same(found, expected));
    kernels::naive::two_class_cut_rows(rows, codes.data(), static_cast<unsigned>(count), &found);
    CHECK(same(found, expected));
    // The naive kernel against the formula.
    double best = -1;
    for (std::size_t b = 0; b < count; ++b) {
      for (const bool gaps_left : {false, true}) {
        double w = 0, one = 0, all = 0, all_one = 0;
        for (std::size_t i = 0; i < rows.count; ++i) {
          const bool left = codes[i] <= b || (codes[i] == count && gaps_left);
          w += left ? static_cast<double>(pairs[i] >> 32) : 0;
          one += left ? static_cast<double>(pairs[i] & 0xffffffff) : 0;
          all += static_cast<double>(pairs[i] >> 32);
          all_one += static_cast<double>(pairs[i] & 0xffffffff);
        }
        if (w > 0 && w < all) best = std::max(best, std::pow(one * all - all_one * w, 2) / (w * (all - w)));
      }
    }
    CHECK(expected.score == Approx(best));
    // Bins of many rows.
    std::uint64_t total = 0;
    for (auto& bin : bins) bin = 0;
    for (std::size_t b = 0; b < count; ++b) {
      if (random.below(4) == 0) continue;
      const std::uint64_t weight = 1 + random.below(1'000'000);
      bins[b] = weight << 32 | random.below(weight + 1);
      total += bins[b];
    }
    missing = gaps == 1 ? std::uint64_t{5} << 32 | 2 : 0;
    total += missing;
    kernels::naive::two_class_cut(bins.data(), count, missing, total, &expected);
    table.cut(bins.data(), count, missing, total, &found);
    CHECK(same(found, expected));
  }
}

TEST_CASE("planes of rows of two classes give the sums of the rows", "[histogram]") {
  const BaggingTable& table = bagging_table_for(detected_isa());
  Random random(6);
  for (int round = 0; round < 300; ++round) {
    INFO("round " << round);
    const std::size_t count = 1 + random.below(300), blocks = (count + 63) / 64;
    const auto missing = static_cast<unsigned>(1 + random.below(255));
    std::vector<std::uint64_t> rows(count);
    std::vector<unsigned char> codes(count);
    const bool only_gaps = random.below(10) == 0;
    std::uint64_t all = 0;
    for (std::size_t i = 0; i < count; ++i) {
      const std::uint64_t weight = 1 + random.below(7);
      rows[i] = weight << 32 | (random.below(2) ? weight : 0);
      codes[i] = static_cast<unsigned char>(only_gaps ? missing : random.below(missing + (round % 2)));
      all |= rows[i];
    }
    std::vector<TwoClassPlanes> expected(blocks), planes(blocks);
    CHECK(kernels::naive::two_class_planes(rows.data(), count, expected.data()) == all);
    CHECK(table.planes(rows.data(), count, planes.data()) == all);
    for (std::size_t b = 0; b < blocks; ++b)
      for (int k = 0; k < 3; ++k)
        CHECK((planes[b].weight[k] == expected[b].weight[k] && planes[b].one[k] == expected[b].one[k]));
    const auto last = static_cast<unsigned>(random.below(256));
    std::uint64_t sum = 0;
    for (std::size_t i = 0; i < count; ++i) sum += codes[i] <= last ? rows[i] : 0;
    CHECK(kernels::naive::two_class_sum_to(expected.data(), codes.data(), count, last) == sum);
    CHECK(table.sum_to(expected.data(), codes.data(), count, last) == sum);
    unsigned char low = 255, high = 0;
    bool gap = false;
    for (const auto code : codes) {
      gap |= code == missing;
      if (code == missing) continue;
      low = std::min(low, code);
      high = std::max(high, code);
    }
    for (const auto bounds : {kernels::naive::code_bounds, table.bounds}) {
      unsigned char least = 7, highest = 7;
      CHECK(bounds(codes.data(), count, missing, &least, &highest) == gap);
      CHECK((least == low && highest == high));
    }
  }
}
