// Scores chest X-rays with a pocketcxr bundle: PNG and JPEG in, one line of JSON per file out. Research use only.
//
//   pocketcxr BUNDLE.onnx IMAGE...
//   pocketcxr BUNDLE.onnx --reference FOLDER     compares each step with the reference set
//
// The steps and their arithmetic: docs/reference/preprocessing.md.

#include <lodepng.h>
#include <onnxruntime_cxx_api.h>
#include <openssl/sha.h>
#include <turbojpeg.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <fstream>
#include <iostream>
#include <iterator>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <sstream>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

using Bytes = std::vector<unsigned char>;
using Floats = std::vector<float>;
using Json = nlohmann::ordered_json;
using Words = std::vector<std::string>;

constexpr std::size_t MAX_PIXELS = 64'000'000;  // a header that says more may be a decompression bomb

struct Refused : std::runtime_error {  // a file that cannot be read, or a bundle that must not be used
  using std::runtime_error::runtime_error;
};

struct Picture {
  std::size_t width = 0, height = 0;
  unsigned bits = 8;    // per sample, as stored
  bool colour = false;  // more than 1 % of the pixels are coloured
  Floats grey;          // row by row, 0 is black, 1 is white
};

Bytes read_file(const std::string& path) {
  std::ifstream stream(path, std::ios::binary);
  if (!stream) throw Refused("cannot be opened");
  return {std::istreambuf_iterator<char>(stream), {}};
}

// ---- steps 2 and 3: decode, grey value

void check_size(std::size_t width, std::size_t height) {
  if (!width || !height || width * height > MAX_PIXELS) throw Refused("no pixels, or more than 64 million");
}

class Luminance {  // grey value of 8-bit colours, and how many of them are coloured
 public:
  float operator()(int red, int green, int blue) {
    const int spread = std::max({red, green, blue}) - std::min({red, green, blue});
    coloured_ += spread > 16;
    if (!spread) return red / 255.0F;
    return std::min(1.0F, (0.299F * red + 0.587F * green + 0.114F * blue) / 255.0F);
  }
  bool is_coloured(std::size_t pixels) const { return coloured_ > 0.01 * pixels; }

 private:
  std::size_t coloured_ = 0;
};

int exif_orientation(const unsigned char* tiff, std::size_t size) {  // EXIF 2.32 section 4.6.4; 1 where none is said
  if (size < 8) return 1;
  const bool little = tiff[0] == 'I';
  const auto number = [&](std::size_t at, int bytes) {
    std::size_t value = 0;
    for (int i = 0; i < bytes; ++i) {
      const std::size_t from = at + (little ? bytes - 1 - i : i);
      value = value << 8 | (from < size ? tiff[from] : 0);
    }
    return value;
  };
  const std::size_t table = number(4, 4);
  for (std::size_t i = 0, entries = number(table, 2); i < entries; ++i) {
    const std::size_t entry = table + 2 + 12 * i;
    if (number(entry, 2) == 0x0112) {
      const std::size_t value = number(entry + 8, 2);
      return value >= 1 && value <= 8 ? static_cast<int>(value) : 1;
    }
  }
  return 1;
}

Picture upright(Picture stored, int orientation) {
  if (orientation == 1) return stored;
  const bool swapped = orientation >= 5;
  const bool last_row = orientation == 3 || orientation == 4 || orientation == 6 || orientation == 7;
  const bool last_column = orientation == 2 || orientation == 3 || orientation == 7 || orientation == 8;
  Picture turned = stored;
  if (swapped) std::swap(turned.width, turned.height);
  for (std::size_t y = 0; y < turned.height; ++y)
    for (std::size_t x = 0; x < turned.width; ++x) {
      std::size_t row = swapped ? x : y, column = swapped ? y : x;
      if (last_row) row = stored.height - 1 - row;
      if (last_column) column = stored.width - 1 - column;
      turned.grey[y * turned.width + x] = stored.grey[row * stored.width + column];
    }
  return turned;
}

Picture read_png(const Bytes& data) {
  lodepng::State state;  // checks every checksum
  unsigned width = 0, height = 0;
  unsigned error = lodepng_inspect(&width, &height, &state, data.data(), data.size());
  if (!error) check_size(width, height);
  state.info_raw.colortype = LCT_RGBA;  // of 16 bits: 8-bit samples stand in both bytes
  state.info_raw.bitdepth = 16;
  Bytes rgba;
  if (!error) error = lodepng::decode(rgba, width, height, state, data);
  if (error) throw Refused(std::string("the PNG is damaged: ") + lodepng_error_text(error));

  const LodePNGColorMode& stored = state.info_png.color;
  const bool deep = stored.colortype == LCT_GREY && stored.bitdepth == 16;
  Picture picture{width, height, stored.bitdepth, false, Floats(std::size_t(width) * height)};
  if (deep && state.info_png.sbit_defined) picture.bits = state.info_png.sbit_r;
  const int largest = (1 << picture.bits) - 1;
  Luminance luminance;
  for (std::size_t i = 0; i < picture.grey.size(); ++i) {
    const unsigned char* sample = &rgba[i * 8];
    float& grey = picture.grey[i];
    grey = deep ? float((sample[0] << 8 | sample[1]) >> (16 - picture.bits)) / largest
                : luminance(sample[0], sample[2], sample[4]);
    grey *= sample[6] / 255.0F;
  }
  picture.colour = luminance.is_coloured(picture.grey.size());
  const unsigned char* exif = lodepng_chunk_find_const(data.data() + 8, data.data() + data.size(), "eXIf");
  return upright(picture, exif ? exif_orientation(exif + 8, lodepng_chunk_length(exif)) : 1);
}

int jpeg_orientation(const Bytes& data) {
  for (std::size_t at = 2; at + 10 < data.size() && data[at] == 0xFF && data[at + 1] != 0xDA;) {
    const std::size_t end = at + 2 + (data[at + 2] << 8 | data[at + 3]);
    if (data[at + 1] == 0xE1 && !std::memcmp(&data[at + 4], "Exif\0\0", 6) && end <= data.size())
      return exif_orientation(&data[at + 10], end - (at + 10));
    at = end;
  }
  return 1;
}

Picture read_jpeg(const Bytes& data) {
  const std::unique_ptr<void, int (*)(tjhandle)> decoder(tjInitDecompress(), tjDestroy);
  int width = 0, height = 0, chroma = 0, colours = 0;
  if (tjDecompressHeader3(decoder.get(), data.data(), data.size(), &width, &height, &chroma, &colours))
    throw Refused(std::string("the JPEG is damaged: ") + tjGetErrorStr2(decoder.get()));
  check_size(width, height);
  if (colours == TJCS_CMYK || colours == TJCS_YCCK) throw Refused("a JPEG of four inks is not read");
  const bool is_grey = colours == TJCS_GRAY;
  Bytes samples(std::size_t(width) * height * (is_grey ? 1 : 3));
  if (tjDecompress2(decoder.get(), data.data(), data.size(), samples.data(), width, 0, height,
                    is_grey ? TJPF_GRAY : TJPF_RGB, TJFLAG_STOPONWARNING))  // a warning is damage
    throw Refused(std::string("the JPEG is damaged: ") + tjGetErrorStr2(decoder.get()));
  Picture picture{std::size_t(width), std::size_t(height), 8, false, Floats(std::size_t(width) * height)};
  Luminance luminance;
  for (std::size_t i = 0; i < picture.grey.size(); ++i)
    picture.grey[i] =
        is_grey ? samples[i] / 255.0F : luminance(samples[3 * i], samples[3 * i + 1], samples[3 * i + 2]);
  picture.colour = luminance.is_coloured(picture.grey.size());
  return upright(picture, jpeg_orientation(data));
}

Picture read_picture(const std::string& path) {  // by content, not by suffix
  const Bytes data = read_file(path);
  constexpr std::array<unsigned char, 4> png{0x89, 'P', 'N', 'G'};
  if (data.size() > 8 && std::equal(png.begin(), png.end(), data.begin())) return read_png(data);
  if (data.size() > 2 && data[0] == 0xFF && data[1] == 0xD8) return read_jpeg(data);
  throw Refused("expected PNG or JPEG");
}

// ---- step 4: input checks

float contrast(const Picture& picture) {
  const std::size_t step = std::max(1.0, std::ceil(std::sqrt(picture.grey.size() / 65536.0)));
  Floats sorted;
  for (std::size_t y = 0; y < picture.height; y += step)
    for (std::size_t x = 0; x < picture.width; x += step) sorted.push_back(picture.grey[y * picture.width + x]);
  std::sort(sorted.begin(), sorted.end());
  const auto percentile = [&](double part) {
    const double rank = part * (sorted.size() - 1);
    const std::size_t below = rank, above = std::min(below + 1, sorted.size() - 1);
    return sorted[below] + (double(sorted[above]) - sorted[below]) * (rank - below);
  };
  return float(percentile(0.99) - percentile(0.01));
}

Words refusals(const Picture& picture) {
  Words codes;
  const auto [shorter, longer] = std::minmax(picture.width, picture.height);
  if (shorter < 96) codes.push_back("too-small");
  if (longer > 2.5 * shorter) codes.push_back("aspect");
  const auto [darkest, brightest] = std::minmax_element(picture.grey.begin(), picture.grey.end());
  const float found = contrast(picture);
  if (picture.bits > 8 && *brightest - *darkest < 0.1F)
    codes.push_back("low-contrast");
  else if (found < 0.02F)
    codes.push_back("blank");
  else if (found < 0.12F)
    codes.push_back("low-contrast");
  if (picture.colour) codes.push_back("coloured");
  return codes;
}

// ---- step 5: resize

// Resize the rows' axis from `from` to `to` pixels and transpose, so that two calls do both axes.
Floats resize_axis(const Floats& in, std::size_t lines, std::size_t from, std::size_t to) {
  Floats out(to * lines);
  const double scale = double(from) / to, reach = std::max(scale, 1.0);
  for (std::size_t i = 0; i < to; ++i) {
    const double centre = (i + 0.5) * scale;
    const std::size_t first = std::max(0.0, std::floor(centre - reach + 0.5));
    const std::size_t last = std::min(double(from), std::floor(centre + reach + 0.5));
    std::vector<double> weights;
    double total = 0;
    for (std::size_t j = first; j < last; ++j) {
      weights.push_back(std::max(0.0, 1 - std::abs(j + 0.5 - centre) / reach));
      total += weights.back();
    }
    for (std::size_t line = 0; line < lines; ++line) {
      double sum = 0;
      for (std::size_t j = first; j < last; ++j) sum += weights[j - first] * in[line * from + j];
      out[i * lines + line] = float(sum / total);
    }
  }
  return out;
}

Floats resize(const Picture& picture, std::size_t size, const std::string& aspect) {
  std::size_t height = size, width = size;
  if (aspect == "pad") {
    const double longest = std::max(picture.width, picture.height);
    height = std::max(1.0, std::floor(picture.height * size / longest + 0.5));
    width = std::max(1.0, std::floor(picture.width * size / longest + 0.5));
  } else if (aspect != "squash") {
    throw Refused("aspect: expected squash or pad, found " + aspect);
  }
  const Floats across = resize_axis(picture.grey, picture.height, picture.width, width);  // [width, picture.height]
  const Floats inner = resize_axis(across, width, picture.height, height);                // [height, width]
  Floats canvas(size * size, 0.0F);
  const std::size_t top = (size - height) / 2, left = (size - width) / 2;
  for (std::size_t y = 0; y < height; ++y)
    for (std::size_t x = 0; x < width; ++x)
      canvas[(top + y) * size + left + x] = std::clamp(inner[y * width + x], 0.0F, 1.0F);
  return canvas;
}

// ---- steps 1, 6 and 7: bundle, network, decision

class Bundle {
 public:
  explicit Bundle(const std::string& path) : data_(read_file(path)) {
    constexpr std::size_t trailer = 86, digits = 64;  // the hash is the last entry of the file
    if (data_.size() <= trailer) throw Refused("no bundle");
    sha256.assign(data_.end() - digits, data_.end());
    std::array<unsigned char, 32> digest{};
    SHA256(data_.data(), data_.size() - trailer, digest.data());
    std::string found;
    for (unsigned char byte : digest)
      for (int nibble : {byte >> 4, byte & 15}) found += "0123456789abcdef"[nibble];
    if (found != sha256) throw Refused("no bundle, or changed after it was sealed (its SHA-256 does not fit)");

    Ort::SessionOptions options;
    options.SetIntraOpNumThreads(std::clamp(int(std::thread::hardware_concurrency()), 1, 4));
    session_ = Ort::Session(env_, data_.data(), data_.size(), options);
    Ort::AllocatorWithDefaultOptions allocator;
    const auto text = session_.GetModelMetadata().LookupCustomMetadataMapAllocated("pocketcxr.manifest", allocator);
    if (!text) throw Refused("an ONNX model without a manifest");
    manifest = Json::parse(text.get());
    if (manifest["format_version"] > 3 || manifest.contains("findings"))
      throw Refused("this example reads bundles of one class per image, up to format version 3");
    const Json& preprocessing = manifest["preprocessing"];
    if (preprocessing["resampling"] != "triangle-antialias" || preprocessing["polarity"] != "MONOCHROME2")
      throw Refused("unknown preprocessing: " + preprocessing.dump());
  }

  Floats input(const Picture& picture) const {
    const Json& preprocessing = manifest["preprocessing"];
    return resize(picture, preprocessing["size"], preprocessing["aspect"]);
  }

  std::map<std::string, Floats> run(Floats image) {
    const std::int64_t size = manifest["preprocessing"]["size"];
    const std::array<std::int64_t, 4> shape{1, 1, size, size};
    const auto memory = Ort::MemoryInfo::CreateCpu(OrtArenaAllocator, OrtMemTypeDefault);
    const auto tensor = Ort::Value::CreateTensor<float>(memory, image.data(), image.size(), shape.data(), shape.size());
    std::vector<const char*> outputs{"probabilities", "logits", "novelty"};
    if (!manifest["input_gate"].is_null()) outputs.push_back("input_kind");
    const char* const input = "image";
    const auto found = session_.Run(Ort::RunOptions{nullptr}, &input, &tensor, 1, outputs.data(), outputs.size());
    std::map<std::string, Floats> values;
    for (std::size_t i = 0; i < outputs.size(); ++i) {
      const float* first = found[i].GetTensorData<float>();
      values[outputs[i]].assign(first, first + found[i].GetTensorTypeAndShapeInfo().GetElementCount());
    }
    return values;
  }

  Json predict(const Picture& picture) {
    Json answer{{"decision", "refused"}, {"probabilities", Json::object()}, {"novelty", nullptr}};
    answer["reasons"] = refusals(picture);
    if (answer["reasons"].empty()) decide(run(input(picture)), answer);
    return answer;
  }

  std::string identity() const {
    return std::string(manifest["name"]) + " " + std::string(manifest["version"]) + " sha256:" + sha256.substr(0, 12);
  }

  Json manifest;
  std::string sha256;

 private:
  void decide(const std::map<std::string, Floats>& outputs, Json& answer) const {
    const Floats& probabilities = outputs.at("probabilities");
    const float novelty = outputs.at("novelty")[0];
    answer["novelty"] = novelty;
    if (const Json& filter = manifest["input_gate"]; !filter.is_null()) {
      const Words kinds = filter["kinds"];
      double accepted = 0;
      std::map<float, std::string> others;
      for (std::size_t i = 0; i < kinds.size(); ++i)
        if (kinds[i] == filter["accept"])
          accepted = outputs.at("input_kind")[i];
        else
          others[outputs.at("input_kind")[i]] = kinds[i];
      if (!(accepted >= double(filter["threshold"]))) answer["reasons"].push_back(others.rbegin()->second);
    }
    const bool finite = std::all_of(probabilities.begin(), probabilities.end(), [](float p) { return std::isfinite(p); });
    if (!finite || !(novelty <= 1)) answer["reasons"].push_back("novel");
    if (!answer["reasons"].empty()) return;
    const Words labels = manifest["labels"];
    Words possible;
    for (std::size_t i = 0; i < labels.size(); ++i) {
      answer["probabilities"][labels[i]] = probabilities[i];
      if (probabilities[i] >= 1 - double(manifest["conformal_quantile"])) possible.push_back(labels[i]);
    }
    answer["decision"] = possible.size() == 1 ? possible[0] : "uncertain";
    if (possible.size() != 1) answer["reasons"].push_back(possible.empty() ? "no-class" : "several-classes");
  }

  Bytes data_;
  Ort::Env env_{ORT_LOGGING_LEVEL_FATAL};
  Ort::Session session_{nullptr};
};

// ---- the two commands

int predict(Bundle& bundle, const Words& paths) {
  std::size_t unread = 0;
  for (const std::string& path : paths) {
    Json answer{{"path", path}};
    try {
      answer.update(bundle.predict(read_picture(path)));
    } catch (const Refused& error) {
      answer.update({{"decision", "error"}, {"error", error.what()}});
      ++unread;
    }
    answer["bundle"] = bundle.identity();
    std::cout << answer.dump(-1, ' ', false, Json::error_handler_t::replace) << '\n';
  }
  return unread == 0 ? 0 : unread < paths.size() ? 1 : 2;
}

std::string joined(const std::string& first, const Words& words) {
  std::string text = first;
  for (const std::string& word : words) text += (text.empty() ? "" : " ") + word;
  return text;
}

Floats expected_numbers(const std::string& folder, const std::string& expected) {
  Floats numbers;
  if (expected.rfind("expected/", 0) == 0) {
    const Bytes data = read_file(folder + "/" + expected);
    numbers.resize(data.size() / sizeof(float));
    std::memcpy(numbers.data(), data.data(), data.size());  // little-endian, as all processors that this runs on
    return numbers;
  }
  std::istringstream stream(expected);
  for (float value = 0; stream >> value;) numbers.push_back(value);
  return numbers;
}

int compare(Bundle& bundle, const std::string& folder) {
  std::ifstream table(folder + "/reference.tsv");
  std::string line, open_name;
  std::getline(table, line);  // names of the columns
  Picture picture;
  bool readable = false, same_bundle = false;
  std::size_t passed = 0, failed = 0, left_out = 0;
  while (std::getline(table, line)) {
    std::istringstream cells(line);
    std::array<std::string, 7> row;
    for (std::string& cell : row) std::getline(cells, cell, '\t');
    const auto& [name, step, height, width, stride_text, tolerance, expected] = row;
    if (step == "bundle") {
      same_bundle = expected == bundle.sha256;
      continue;
    }
    if (name != open_name) {
      open_name = name;
      try {
        picture = read_picture(folder + "/pictures/" + name);
        readable = true;
      } catch (const Refused& error) {
        std::cout << name << ": not read (" << error.what() << ")\n";
        readable = false;
      }
    }
    const bool of_network = step == "logits" || step == "probabilities" || step == "novelty" || step == "input_kind";
    if (!readable || (!same_bundle && (of_network || step == "decision"))) {
      ++left_out;
      continue;
    }
    if (step == "refusals" || step == "decision") {
      const Json answer = step == "decision" ? bundle.predict(picture) : Json();
      const Words codes = refusals(picture);
      const std::string found = step == "decision" ? joined(answer["decision"], answer["reasons"])
                                                   : codes.empty() ? "-" : joined("", codes);
      found == expected ? ++passed : ++failed;
      if (found != expected) std::cout << name << ' ' << step << ": expected " << expected << ", found " << found << '\n';
      continue;
    }
    const Floats values = step == "grey"        ? picture.grey
                          : step == "contrast"  ? Floats{contrast(picture)}
                          : step == "squash-32" ? resize(picture, 32, "squash")
                          : step == "pad-48"    ? resize(picture, 48, "pad")
                          : step == "input"     ? bundle.input(picture)
                                                : bundle.run(bundle.input(picture)).at(step);
    const Floats numbers = expected_numbers(folder, expected);
    const std::size_t stride = std::stoul(stride_text), columns = std::stoul(width);
    const std::size_t rows = columns ? std::stoul(height) : 1, across = columns ? columns : values.size();
    float largest = values.size() == rows * across ? 0.0F : INFINITY;
    std::size_t at = 0;
    for (std::size_t y = 0; y < rows && std::isfinite(largest); y += stride)
      for (std::size_t x = 0; x < across; x += stride, ++at)
        largest = std::max(largest, at < numbers.size() ? std::abs(values[y * across + x] - numbers[at]) : INFINITY);
    const bool fits = largest <= std::stof(tolerance);
    fits ? ++passed : ++failed;
    if (!fits) std::cout << name << ' ' << step << ": off by " << largest << ", tolerance " << tolerance << '\n';
  }
  std::cout << passed << " passed, " << failed << " failed, " << left_out << " left out\n";
  return failed || !passed;
}

int main(int count, char** arguments) {
  const Words words(arguments + 1, arguments + count);
  if (words.size() < 2) {
    std::cerr << "usage: pocketcxr BUNDLE.onnx IMAGE...   or   pocketcxr BUNDLE.onnx --reference FOLDER\n";
    return 2;
  }
  try {
    Bundle bundle(words[0]);
    if (words[1] == "--reference") return compare(bundle, words.size() > 2 ? words[2] : ".");
    std::cerr << "Research use only. Not a medical device.\n";
    return predict(bundle, Words(words.begin() + 1, words.end()));
  } catch (const std::exception& error) {
    std::cerr << words[0] << ": " << error.what() << '\n';
    return 2;
  }
}
