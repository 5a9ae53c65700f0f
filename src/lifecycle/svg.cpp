#include "lifecycle/svg.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <iterator>
#include <map>

namespace redoubt::detail {
namespace {

constexpr const char* line_colours[] = {"#2457a6", "#c2410c", "#15803d", "#7e22ce", "#0e7490", "#a16207"};

/// Length of the UTF-8 sequence at the start of `text`, 0 if it is broken.
std::size_t sequence_length(std::string_view text) {
  const auto lead = static_cast<unsigned char>(text[0]);
  if (lead < 0x80) return 1;
  const std::size_t n = lead >= 0xf0 && lead < 0xf5   ? 4
                        : lead >= 0xe0 && lead < 0xf0 ? 3
                        : lead >= 0xc2 && lead < 0xe0 ? 2
                                                      : 0;
  if (n == 0 || text.size() < n) return 0;
  for (std::size_t i = 1; i < n; ++i)
    if ((static_cast<unsigned char>(text[i]) & 0xc0) != 0x80) return 0;
  return n;
}

std::string open_svg(double width, double height, const std::string& id, std::string_view title,
                     std::string_view description) {
  return fmt::format(
      "<svg viewBox=\"0 0 {0:.0f} {1:.0f}\" style=\"max-width:{0:.0f}px\" role=\"img\" aria-labelledby=\"{2}t {2}d\">"
      "<title id=\"{2}t\">{3}</title><desc id=\"{2}d\">{4}</desc>",
      width, height, id, escape(title), escape(description));
}

/// Round distance between ticks so that about five fit.
double tick_step(double range) {
  const double rough = range / 5, power = std::pow(10.0, std::floor(std::log10(rough)));
  for (const double factor : {1.0, 2.0, 2.5, 5.0})
    if (rough <= factor * power * 1.0001) return factor * power;
  return 10 * power;
}

/// A plot area with axes; maps values to pixels.
struct Axes {
  double left = 58, top = 12, width = 380, height = 270;
  double x0 = 0, x1 = 1, y0 = 0, y1 = 1;

  double px(double x) const { return left + (x - x0) / (x1 - x0) * width; }
  double py(double y) const { return top + height - (y - y0) / (y1 - y0) * height; }

  std::string draw(std::string_view x_label, std::string_view y_label) const {
    std::string svg;
    auto out = std::back_inserter(svg);
    const double sx = tick_step(x1 - x0), sy = tick_step(y1 - y0);
    for (double y = std::ceil(y0 / sy - 1e-9) * sy; y <= y1 + 1e-9 * sy; y += sy)
      fmt::format_to(out,
                     "<line class=\"grid\" x1=\"{:.1f}\" x2=\"{:.1f}\" y1=\"{:.1f}\" y2=\"{:.1f}\"/>"
                     "<text class=\"tick\" x=\"{:.1f}\" y=\"{:.1f}\" text-anchor=\"end\">{:.4g}</text>",
                     left, left + width, py(y), py(y), left - 7, py(y) + 4, std::abs(y) < 1e-9 * sy ? 0.0 : y);
    for (double x = std::ceil(x0 / sx - 1e-9) * sx; x <= x1 + 1e-9 * sx; x += sx)
      fmt::format_to(out, "<text class=\"tick\" x=\"{:.1f}\" y=\"{:.1f}\" text-anchor=\"middle\">{:.4g}</text>", px(x),
                     top + height + 18, std::abs(x) < 1e-9 * sx ? 0.0 : x);
    fmt::format_to(out, "<path class=\"axis\" d=\"M{:.1f} {:.1f}V{:.1f}H{:.1f}\"/>", left, top, top + height,
                   left + width);
    fmt::format_to(out, "<text class=\"label\" x=\"{:.1f}\" y=\"{:.1f}\" text-anchor=\"middle\">{}</text>",
                   left + width / 2, top + height + 40, escape(x_label));
    fmt::format_to(
        out, "<text class=\"label\" transform=\"translate(14 {:.1f}) rotate(-90)\" text-anchor=\"middle\">{}</text>",
        top + height / 2, escape(y_label));
    return svg;
  }
};

bool finite_at(const std::vector<double>& values, std::size_t i) {
  return i < values.size() && std::isfinite(values[i]);
}

}  // namespace

std::string escape(std::string_view text) {
  std::string safe;
  safe.reserve(text.size());
  while (!text.empty()) {
    const auto n = sequence_length(text);
    const auto c = static_cast<unsigned char>(text[0]);
    if (n == 0 || (c < 0x20 && c != '\n' && c != '\t') || c == 0x7f) {
      safe += "\xef\xbf\xbd";
      text.remove_prefix(1);
      continue;
    }
    switch (text[0]) {
      case '&': safe += "&amp;"; break;
      case '<': safe += "&lt;"; break;
      case '>': safe += "&gt;"; break;
      case '"': safe += "&quot;"; break;
      case '\'': safe += "&#39;"; break;
      default: safe += text.substr(0, n);
    }
    text.remove_prefix(n);
  }
  return safe;
}

std::string shorten(std::string_view text, std::size_t length) {
  std::size_t bytes = 0, characters = 0, cut = 0;
  while (bytes < text.size()) {
    if (characters + 1 == length) cut = bytes;
    if (++characters > length) return std::string(text.substr(0, cut)) + "\u2026";
    bytes += std::max<std::size_t>(1, sequence_length(text.substr(bytes)));
  }
  return std::string(text);
}

std::string svg_confusion(const Confusion& table, const std::vector<std::string>& classes, const std::string& id,
                          std::string_view title) {
  const std::size_t n = table.classes;
  const double cell = n <= 3 ? 96 : n <= 6 ? 64 : n <= 12 ? 44 : 22, left = 120, top = 56;
  std::string description = fmt::format("{} classes; rows are the true class, columns the predicted one. ", n);
  for (std::size_t i = 0; i < n && n <= 12; ++i)
    for (std::size_t j = 0; j < n; ++j)
      description += fmt::format("{} taken for {}: {:.6g}. ", classes[i], classes[j], table(i, j));
  const double size = cell * static_cast<double>(n);
  auto svg = open_svg(left + size + 24, top + size + 16, id, title, description);
  auto out = std::back_inserter(svg);
  fmt::format_to(out, "<text class=\"label\" x=\"{:.1f}\" y=\"16\" text-anchor=\"middle\">predicted</text>",
                 left + size / 2);
  fmt::format_to(
      out, "<text class=\"label\" transform=\"translate(14 {:.1f}) rotate(-90)\" text-anchor=\"middle\">true</text>",
      top + size / 2);
  for (std::size_t i = 0; i < n; ++i) {
    const double at = static_cast<double>(i) * cell;
    if (n <= 20) {
      const auto fit = static_cast<std::size_t>(std::max(3.0, cell / 8));
      fmt::format_to(out, "<text class=\"tick\" x=\"{:.1f}\" y=\"{:.1f}\" text-anchor=\"middle\">{}</text>",
                     left + at + cell / 2, top - 10, escape(shorten(classes[i], fit)));
      fmt::format_to(out, "<text class=\"tick\" x=\"{:.1f}\" y=\"{:.1f}\" text-anchor=\"end\">{}</text>", left - 10,
                     top + at + cell / 2 + 4, escape(shorten(classes[i], 12)));
    }
    double row = 0;
    for (std::size_t j = 0; j < n; ++j) row += table(i, j);
    for (std::size_t j = 0; j < n; ++j) {
      const double share = row > 0 ? table(i, j) / row : 0, x = left + static_cast<double>(j) * cell, y = top + at;
      fmt::format_to(out,
                     "<g><rect x=\"{:.1f}\" y=\"{:.1f}\" width=\"{:.1f}\" height=\"{:.1f}\" rx=\"3\" fill=\"{}\" "
                     "fill-opacity=\"{:.3f}\"/><title>{} taken for {}: {:.6g} ({:.1f} %)</title>",
                     x + 1, y + 1, cell - 2, cell - 2, i == j ? "#2457a6" : "#c2410c", 0.06 + 0.9 * share,
                     escape(classes[i]), escape(classes[j]), table(i, j), 100 * share);
      if (n <= 12) {
        const char* colour = share > 0.55 ? "#fff" : "#1c2430";
        const double middle = y + cell / 2 + (n <= 6 ? -1 : 4);
        fmt::format_to(
            out, "<text x=\"{:.1f}\" y=\"{:.1f}\" text-anchor=\"middle\" fill=\"{}\" class=\"count\">{:.6g}</text>",
            x + cell / 2, middle, colour, table(i, j));
        if (n <= 6)
          fmt::format_to(
              out,
              "<text x=\"{:.1f}\" y=\"{:.1f}\" text-anchor=\"middle\" class=\"tick\" style=\"fill:{}\">{:.1f} %</text>",
              x + cell / 2, middle + 17, colour, 100 * share);
      }
      svg += "</g>";
    }
  }
  return svg + "</svg>";
}

std::string svg_chart(const Chart& chart, const std::string& id, bool diagonal) {
  Axes axes;
  double x0 = INFINITY, x1 = -INFINITY, y0 = INFINITY, y1 = -INFINITY;
  std::string description;
  for (const auto& line : chart.lines) {
    description += fmt::format("{}{}", line.name, line.name.empty() ? "" : ": ");
    const std::size_t step = std::max<std::size_t>(1, line.x.size() / 12);
    for (std::size_t i = 0; i < line.x.size(); ++i) {
      if (!finite_at(line.x, i) || !finite_at(line.y, i)) continue;
      if (i % step == 0 || i + 1 == line.x.size())
        description += fmt::format("{:.3g} at {:.3g}; ", line.y[i], line.x[i]);
      x0 = std::min(x0, line.x[i]), x1 = std::max(x1, line.x[i]);
      y0 = std::min(y0, finite_at(line.low, i) ? line.low[i] : line.y[i]);
      y1 = std::max(y1, finite_at(line.high, i) ? line.high[i] : line.y[i]);
    }
  }
  if (!(x0 <= x1)) x0 = 0, x1 = 1, y0 = 0, y1 = 1;
  if (chart.y_from_zero_to_one) y0 = 0, y1 = 1;
  if (x0 == x1) x1 = x0 + 1;
  if (y0 == y1) y0 -= 0.5, y1 += 0.5;
  const double pad = chart.y_from_zero_to_one ? 0 : 0.05 * (y1 - y0);
  axes.x0 = x0, axes.x1 = x1, axes.y0 = y0 - pad, axes.y1 = y1 + pad;
  const bool legend = chart.lines.size() > 1;
  auto svg =
      open_svg(460, 330 + (legend ? 20.0 * static_cast<double>(chart.lines.size()) : 0), id, chart.title, description);
  auto out = std::back_inserter(svg);
  svg += axes.draw(chart.x_label, chart.y_label);
  if (diagonal)
    fmt::format_to(out, "<path class=\"guide\" d=\"M{:.1f} {:.1f}L{:.1f} {:.1f}\"/>", axes.px(0), axes.py(0),
                   axes.px(1), axes.py(1));
  for (std::size_t k = 0; k < chart.lines.size(); ++k) {
    const auto& line = chart.lines[k];
    const char* colour = line_colours[k % std::size(line_colours)];
    const auto clip = [&](double y) { return axes.py(std::clamp(y, axes.y0, axes.y1)); };
    if (!line.y.empty() && line.low.size() == line.y.size() && line.high.size() == line.y.size()) {
      std::string band;
      auto to = std::back_inserter(band);
      for (std::size_t i = 0; i < line.x.size(); ++i)
        if (finite_at(line.high, i)) fmt::format_to(to, "{:.1f},{:.1f} ", axes.px(line.x[i]), clip(line.high[i]));
      for (std::size_t i = line.x.size(); i-- > 0;)
        if (finite_at(line.low, i)) fmt::format_to(to, "{:.1f},{:.1f} ", axes.px(line.x[i]), clip(line.low[i]));
      fmt::format_to(out, "<polygon points=\"{}\" fill=\"{}\" fill-opacity=\"0.13\"/>", band, colour);
    }
    std::string points;
    auto to = std::back_inserter(points);
    for (std::size_t i = 0; i < line.x.size(); ++i)
      if (finite_at(line.x, i) && finite_at(line.y, i))
        fmt::format_to(to, "{:.1f},{:.1f} ", axes.px(line.x[i]), clip(line.y[i]));
    fmt::format_to(
        out, "<polyline points=\"{}\" fill=\"none\" stroke=\"{}\" stroke-width=\"2.2\" stroke-linejoin=\"round\"/>",
        points, colour);
    if (line.x.size() <= 40)
      for (std::size_t i = 0; i < line.x.size(); ++i)
        if (finite_at(line.x, i) && finite_at(line.y, i))
          fmt::format_to(
              out, "<circle cx=\"{:.1f}\" cy=\"{:.1f}\" r=\"3.4\" fill=\"{}\"><title>{:.4g} at {:.4g}</title></circle>",
              axes.px(line.x[i]), clip(line.y[i]), colour, line.y[i], line.x[i]);
    if (legend) {
      const double y = 344 + 20.0 * static_cast<double>(k);
      fmt::format_to(out,
                     "<rect x=\"58\" y=\"{:.1f}\" width=\"18\" height=\"4\" fill=\"{}\"/><text class=\"tick\" x=\"84\" "
                     "y=\"{:.1f}\">{}</text>",
                     y - 6, colour, y, escape(shorten(line.name, 60)));
    }
  }
  return svg + "</svg>";
}

std::string svg_reliability(const std::vector<ReliabilityBin>& bins, const std::string& id, std::string_view title) {
  Axes axes;
  double most = 0;
  std::string description = "Observed share against predicted probability. ";
  for (const auto& bin : bins) {
    most = std::max(most, bin.weight);
    if (bin.weight > 0)
      description +=
          fmt::format("Predicted {:.2f}, observed {:.2f}, {:.6g} rows. ", bin.predicted, bin.observed, bin.weight);
  }
  auto svg = open_svg(460, 330, id, title, description);
  auto out = std::back_inserter(svg);
  svg += axes.draw("predicted probability", "observed share");
  for (const auto& bin : bins) {
    if (!(bin.weight > 0)) continue;
    const double height = 60 * bin.weight / most;
    fmt::format_to(
        out,
        "<rect x=\"{:.1f}\" y=\"{:.1f}\" width=\"{:.1f}\" height=\"{:.1f}\" class=\"weight\"><title>{:.6g} rows "
        "in [{:.2f}, {:.2f})</title></rect>",
        axes.px(bin.low) + 1, axes.py(0) - height, axes.px(bin.high) - axes.px(bin.low) - 2, height, bin.weight,
        bin.low, bin.high);
  }
  fmt::format_to(out, "<path class=\"guide\" d=\"M{:.1f} {:.1f}L{:.1f} {:.1f}\"/>", axes.px(0), axes.py(0), axes.px(1),
                 axes.py(1));
  std::string points;
  for (const auto& bin : bins)
    if (bin.weight > 0) points += fmt::format("{:.1f},{:.1f} ", axes.px(bin.predicted), axes.py(bin.observed));
  fmt::format_to(out, "<polyline points=\"{}\" fill=\"none\" stroke=\"{}\" stroke-width=\"2.2\"/>", points,
                 line_colours[0]);
  for (const auto& bin : bins)
    if (bin.weight > 0)
      fmt::format_to(
          out,
          "<circle cx=\"{:.1f}\" cy=\"{:.1f}\" r=\"4\" fill=\"{}\"><title>predicted {:.3f}, observed {:.3f}, "
          "{:.6g} rows</title></circle>",
          axes.px(bin.predicted), axes.py(bin.observed), line_colours[0], bin.predicted, bin.observed, bin.weight);
  return svg + "</svg>";
}

std::string svg_bars(std::span<const Bar> bars, const std::string& id, std::string_view title) {
  const double left = 170, width = 380, row = 26;
  double most = 0;
  std::string description;
  for (const auto& bar : bars) {
    if (std::isfinite(bar.value)) most = std::max(most, bar.value);
    description += fmt::format("{}: {:.4g}{}{}. ", bar.label, bar.value, bar.note.empty() ? "" : " ", bar.note);
  }
  auto svg = open_svg(760, 12 + row * static_cast<double>(bars.size()), id, title, description);
  auto out = std::back_inserter(svg);
  for (std::size_t i = 0; i < bars.size(); ++i) {
    const auto& bar = bars[i];
    const double y = 6 + row * static_cast<double>(i);
    const double length = most > 0 && bar.value > 0 && std::isfinite(bar.value) ? width * bar.value / most : 0;
    fmt::format_to(
        out, "<g><title>{}: {:.4g}</title><text class=\"tick\" x=\"{:.1f}\" y=\"{:.1f}\" text-anchor=\"end\">{}</text>",
        escape(bar.label), bar.value, left - 8, y + 16, escape(shorten(bar.label, 22)));
    fmt::format_to(out, "<rect x=\"{:.1f}\" y=\"{:.1f}\" width=\"{:.1f}\" height=\"18\" rx=\"2\" fill=\"{}\"/>", left,
                   y + 3, std::max(1.0, length), bar.marked ? "#b42318" : "#8aa4c8");
    fmt::format_to(out, "<text class=\"tick\" x=\"{:.1f}\" y=\"{:.1f}\">{:.4g}{}{}</text></g>", left + length + 7,
                   y + 16, bar.value, bar.note.empty() ? "" : "  ", escape(shorten(bar.note, 34)));
  }
  return svg + "</svg>";
}

std::string svg_lineage(const LineageGraph& graph, const std::string& id, std::string_view title) {
  // Verdicts would crowd the picture: they are counted at the stage that made them.
  const std::size_t n = graph.nodes.size();
  std::vector<char> shown(n);
  std::vector<std::size_t> verdicts(n);
  for (std::size_t i = 0; i < n; ++i) shown[i] = graph.nodes[i].kind != LineageKind::verdict;
  std::vector<std::vector<std::size_t>> next(n), before(n);
  for (const auto& edge : graph.edges) {
    if (!shown[edge.to]) ++verdicts[edge.from];
    if (!shown[edge.to] || !shown[edge.from]) continue;
    next[edge.from].push_back(edge.to);
    before[edge.to].push_back(edge.from);
  }
  // Layer = longest path from a start (Sugiyama et al., 1981). A cycle, which a store should not hold, is cut by the
  // bound on the rounds.
  std::vector<std::size_t> layer(n);
  for (std::size_t round = 0, moved = 1; moved && round < n; ++round) {
    moved = 0;
    for (std::size_t i = 0; i < n; ++i)
      for (const auto j : next[i])
        if (shown[i] && layer[j] < layer[i] + 1 && layer[i] + 1 < n) layer[j] = layer[i] + 1, moved = 1;
  }
  // A start that feeds only a late stage is drawn right above it.
  for (std::size_t i = 0; i < n; ++i)
    if (before[i].empty() && !next[i].empty()) {
      std::size_t lowest = n;
      for (const auto j : next[i]) lowest = std::min(lowest, layer[j]);
      layer[i] = lowest > 0 ? lowest - 1 : 0;
    }
  std::map<std::size_t, std::vector<std::size_t>> rows;
  for (std::size_t i = 0; i < n; ++i)
    if (shown[i]) rows[layer[i]].push_back(i);
  std::vector<double> place(n);
  for (auto& [depth, row] : rows)
    for (std::size_t k = 0; k < row.size(); ++k)
      place[row[k]] = static_cast<double>(k) - 0.5 * static_cast<double>(row.size() - 1);
  // A few sweeps that order each row by the mean place of its neighbours straighten most crossings.
  for (int sweep = 0; sweep < 6; ++sweep)
    for (auto& [depth, row] : rows) {
      const auto pull = [&](std::size_t i) {
        const auto& neighbours = sweep % 2 == 0 ? before[i] : next[i];
        if (neighbours.empty()) return place[i];
        double sum = 0;
        for (const auto j : neighbours) sum += place[j];
        return sum / static_cast<double>(neighbours.size());
      };
      std::map<std::size_t, double> key;
      for (const auto i : row) key[i] = pull(i);
      std::stable_sort(row.begin(), row.end(), [&](std::size_t a, std::size_t b) { return key[a] < key[b]; });
      for (std::size_t k = 0; k < row.size(); ++k)
        place[row[k]] = static_cast<double>(k) - 0.5 * static_cast<double>(row.size() - 1);
    }

  constexpr double box = 164, gap = 22, tall = 46, step = 86;
  std::size_t widest = 1;
  for (const auto& [depth, row] : rows) widest = std::max(widest, row.size());
  const double width = static_cast<double>(widest) * (box + gap) + gap;
  std::map<std::size_t, double> level;
  for (const auto& [depth, row] : rows) level.emplace(depth, 10 + step * static_cast<double>(level.size()));
  const double height = 20 + step * static_cast<double>(std::max<std::size_t>(1, rows.size())) - (step - tall);
  const auto x_of = [&](std::size_t i) { return width / 2 + place[i] * (box + gap); };
  const auto y_of = [&](std::size_t i) { return level[layer[i]]; };

  std::string description;
  for (const auto& edge : graph.edges)
    if (shown[edge.from] && shown[edge.to] && description.size() < 4000)
      description +=
          fmt::format("{} {} to {} {}. ", to_string(graph.nodes[edge.from].kind), graph.nodes[edge.from].label,
                      to_string(graph.nodes[edge.to].kind), graph.nodes[edge.to].label);
  auto svg = open_svg(width, height, id, title, description);
  auto out = std::back_inserter(svg);
  for (const auto& edge : graph.edges) {
    if (!shown[edge.from] || !shown[edge.to]) continue;
    const double xa = x_of(edge.from), ya = y_of(edge.from) + tall, xb = x_of(edge.to), yb = y_of(edge.to);
    const double bend = std::max(20.0, (yb - ya) / 2);
    fmt::format_to(out,
                   "<path class=\"edge\" d=\"M{:.1f} {:.1f}C{:.1f} {:.1f} {:.1f} {:.1f} {:.1f} {:.1f}\"/>"
                   "<path class=\"head\" d=\"M{:.1f} {:.1f}l-4 -7h8z\"/>",
                   xa, ya, xa, ya + bend, xb, yb - bend, xb, yb - 5, xb, yb);
  }
  for (std::size_t i = 0; i < n; ++i) {
    if (!shown[i]) continue;
    const auto& node = graph.nodes[i];
    const double x = x_of(i) - box / 2, y = y_of(i);
    auto note = node.detail;
    if (verdicts[i]) note += fmt::format(", {} verdict{}", verdicts[i], verdicts[i] == 1 ? "" : "s");
    fmt::format_to(out,
                   "<g class=\"node {}\"><title>{} {}: {}{}{}</title><rect x=\"{:.1f}\" y=\"{:.1f}\" width=\"{:.0f}\" "
                   "height=\"{:.0f}\" rx=\"{}\"/>",
                   to_string(node.kind), to_string(node.kind), escape(node.label), escape(note),
                   node.run_id.empty() ? "" : ", run ", escape(node.run_id), x, y, box, tall,
                   node.kind == LineageKind::stage ? 21 : 4);
    fmt::format_to(out, "<text class=\"name\" x=\"{:.1f}\" y=\"{:.1f}\" text-anchor=\"middle\">{}</text>", x + box / 2,
                   y + 20, escape(shorten(node.label, 20)));
    fmt::format_to(out, "<text class=\"note\" x=\"{:.1f}\" y=\"{:.1f}\" text-anchor=\"middle\">{}</text></g>",
                   x + box / 2, y + 36, escape(shorten(note, 27)));
  }
  return svg + "</svg>";
}

}  // namespace redoubt::detail
