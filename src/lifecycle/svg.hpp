#pragma once
// Pictures as SVG text for the HTML report.
#include <string>
#include <string_view>

#include "redoubt/lifecycle/html_report.hpp"
#include "redoubt/metrics/evaluation.hpp"

namespace redoubt::detail {

/// Text made safe for HTML and SVG content and attributes. Control characters and broken UTF-8 become U+FFFD.
std::string escape(std::string_view text);
/// At most `length` characters (not bytes), an ellipsis in place of what is cut. Not escaped.
std::string shorten(std::string_view text, std::size_t length);

// `id` is unique in the document; it links the picture to its title and description.
std::string svg_confusion(const Confusion& table, const std::vector<std::string>& classes, const std::string& id,
                          std::string_view title);
std::string svg_chart(const Chart& chart, const std::string& id, bool diagonal);
std::string svg_reliability(const std::vector<ReliabilityBin>& bins, const std::string& id, std::string_view title);
std::string svg_bars(std::span<const Bar> bars, const std::string& id, std::string_view title);
std::string svg_lineage(const LineageGraph& graph, const std::string& id, std::string_view title);

}  // namespace redoubt::detail
