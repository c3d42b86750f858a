// From decoded samples to the network's input: docs/reference/preprocessing.md, in plain Swift.

/// A picture, upright: grey values row by row, 0 is black and 1 is white; `bits` per sample as stored.
public struct Picture {
    public let width: Int
    public let height: Int
    public let grey: [Float]
    public let bits: Int
    public let coloured: Bool

    public init(width: Int, height: Int, grey: [Float], bits: Int = 8, coloured: Bool = false) {
        precondition(grey.count == width * height)
        (self.width, self.height, self.grey, self.bits, self.coloured) = (width, height, grey, bits, coloured)
    }

    /// Step 3: grey values of `samples`, row by row, each pixel with 1 (grey), 2 (with alpha), 3 (colours) or 4 channels of
    /// 8 or 16 bits. Alpha has not been multiplied in.
    public init(samples: [UInt16], channels: Int, bits: Int, width: Int, height: Int) {
        let deepGrey = bits == 16 && channels == 1  // of all other pictures with 16 bits the high byte counts
        let shift = bits == 16 && !deepGrey ? UInt16(8) : 0
        var coloured = 0
        var grey = [Float](repeating: 0, count: width * height)
        for i in grey.indices {
            func sample(_ channel: Int) -> Float { Float(samples[i * channels + channel] >> shift) }
            if channels >= 3 {
                let (red, green, blue) = (sample(0), sample(1), sample(2))
                let spread = max(red, green, blue) - min(red, green, blue)
                if spread > 16 { coloured += 1 }
                grey[i] = spread == 0 ? red / 255 : min(1, (0.299 * red + 0.587 * green + 0.114 * blue) / 255)
            } else {
                grey[i] = sample(0) / (deepGrey ? 65535 : 255)
            }
            if channels == 2 || channels == 4 { grey[i] *= sample(channels - 1) / 255 }
        }
        self.init(width: width, height: height, grey: grey, bits: bits, coloured: Double(coloured) > 0.01 * Double(grey.count))
    }

    /// Turned by an EXIF orientation from 1 to 8.
    public func upright(_ orientation: Int) -> Picture {
        guard orientation != 1 else { return self }
        let swapped = orientation >= 5
        let (columns, rows) = swapped ? (height, width) : (width, height)
        var turned = [Float](repeating: 0, count: grey.count)
        for y in 0..<rows {
            for x in 0..<columns {
                var (row, column) = swapped ? (x, y) : (y, x)
                if [3, 4, 6, 7].contains(orientation) { row = height - 1 - row }
                if [2, 3, 7, 8].contains(orientation) { column = width - 1 - column }
                turned[y * columns + x] = grey[row * width + column]
            }
        }
        return Picture(width: columns, height: rows, grey: turned, bits: bits, coloured: coloured)
    }

    /// Step 4: the 99th percentile minus the 1st.
    public var contrast: Float {
        let step = max(1, Int((Double(grey.count) / 65536).squareRoot().rounded(.up)))
        var sorted: [Float] = []
        for y in stride(from: 0, to: height, by: step) {
            for x in stride(from: 0, to: width, by: step) { sorted.append(grey[y * width + x]) }
        }
        sorted.sort()
        func percentile(_ part: Double) -> Double {
            let rank = part * Double(sorted.count - 1)
            let below = Int(rank)
            let above = min(below + 1, sorted.count - 1)
            return Double(sorted[below]) + (Double(sorted[above]) - Double(sorted[below])) * (rank - Double(below))
        }
        return Float(percentile(0.99) - percentile(0.01))
    }

    /// Step 4: codes of all reasons against scoring the picture.
    public var refusals: [String] {
        var codes: [String] = []
        if min(width, height) < 96 { codes.append("too-small") }
        if Double(max(width, height)) > 2.5 * Double(min(width, height)) { codes.append("aspect") }
        let found = contrast
        if bits > 8, let lowest = grey.min(), let highest = grey.max(), highest - lowest < 0.1 {
            codes.append("low-contrast")
        } else if found < 0.02 {
            codes.append("blank")
        } else if found < 0.12 {
            codes.append("low-contrast")
        }
        if coloured { codes.append("coloured") }
        return codes
    }

    /// Step 5: to `size` x `size` pixels, row by row. Aspect is "squash" or "pad".
    public func resized(to size: Int, aspect: String) -> [Float] {
        var (rows, columns) = (size, size)
        if aspect == "pad" {
            let longest = Double(max(width, height))
            rows = max(1, Int((Double(height * size) / longest + 0.5).rounded(.down)))
            columns = max(1, Int((Double(width * size) / longest + 0.5).rounded(.down)))
        } else {
            precondition(aspect == "squash", "expected squash or pad")  // checked when the manifest was read
        }
        let across = resizeAxis(grey, lines: height, from: width, to: columns)  // [columns, height]
        let inner = resizeAxis(across, lines: columns, from: height, to: rows)  // [rows, columns]
        var canvas = [Float](repeating: 0, count: size * size)
        let (top, left) = ((size - rows) / 2, (size - columns) / 2)
        for y in 0..<rows {
            for x in 0..<columns { canvas[(top + y) * size + left + x] = min(1, max(0, inner[y * columns + x])) }
        }
        return canvas
    }
}

/// Resize lines of `from` pixels to `to` pixels and transpose, so that two calls do both axes.
private func resizeAxis(_ pixels: [Float], lines: Int, from: Int, to: Int) -> [Float] {
    var resized = [Float](repeating: 0, count: to * lines)
    let scale = Double(from) / Double(to)
    let reach = max(scale, 1)
    for i in 0..<to {
        let centre = (Double(i) + 0.5) * scale
        let first = max(0, Int((centre - reach + 0.5).rounded(.down)))
        let last = min(from, Int((centre + reach + 0.5).rounded(.down)))
        let weights = (first..<last).map { max(0, 1 - abs(Double($0) + 0.5 - centre) / reach) }
        let total = weights.reduce(0, +)
        for line in 0..<lines {
            var sum = 0.0
            for (k, weight) in weights.enumerated() { sum += weight * Double(pixels[line * from + first + k]) }
            resized[i * lines + line] = Float(sum / total)
        }
    }
    return resized
}
