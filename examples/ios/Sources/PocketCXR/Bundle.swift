// A bundle's manifest, and the decision that follows from the network's outputs.
import Foundation

public struct Manifest: Decodable {
    public struct Preprocessing: Decodable {
        public let size: Int
        public let aspect: String
        let resampling: String
        let polarity: String
    }

    /// The learned input filter: a picture whose probability of the kind `accept` is below `threshold` is refused.
    public struct InputFilter: Decodable {
        public let kinds: [String]
        public let accept: String
        public let threshold: Double
    }

    public let name: String
    public let version: String
    public let labels: [String]
    public let preprocessing: Preprocessing
    public let conformalQuantile: Double
    public let inputFilter: InputFilter?

    private enum CodingKeys: String, CodingKey {
        case name, version, labels, preprocessing
        case conformalQuantile = "conformal_quantile"
        case inputFilter = "input_gate"
    }

    private struct Kind: Decodable {
        let format_version: Int
        let findings: [Finding]?
        struct Finding: Decodable {}
    }
}

public struct UnusableBundle: Error, CustomStringConvertible {
    public let description: String
}

extension Manifest {
    /// Read the text of `pocketcxr.manifest`; a bundle that this example does not understand is refused.
    public static func parse(_ text: Data) throws -> Manifest {
        let kind = try JSONDecoder().decode(Kind.self, from: text)
        guard kind.format_version <= 3, kind.findings == nil else {
            throw UnusableBundle(description: "expected a bundle of one class per image, up to format version 3")
        }
        let manifest = try JSONDecoder().decode(Manifest.self, from: text)
        let preprocessing = manifest.preprocessing
        guard preprocessing.resampling == "triangle-antialias", preprocessing.polarity == "MONOCHROME2",
            ["squash", "pad"].contains(preprocessing.aspect)
        else { throw UnusableBundle(description: "unknown preprocessing: \(preprocessing)") }
        return manifest
    }

    /// The manifest in a bundle's file. ONNX Runtime for Swift does not hand out metadata, so the file itself is walked:
    /// an ONNX model is a protobuf message, and field 14 is an entry of its metadata (1 key, 2 value).
    public static func ofBundle(_ file: Data) throws -> Manifest {
        for (number, entry) in try fields([UInt8](file)[...]) where number == 14 {
            let parts = try fields(entry)
            let key = parts.first { $0.number == 1 }?.content ?? []
            if String(decoding: key, as: UTF8.self) == "pocketcxr.manifest", let value = parts.first(where: { $0.number == 2 }) {
                return try parse(Data(value.content))
            }
        }
        throw UnusableBundle(description: "an ONNX model without a manifest")
    }

    /// Step 7, after the input checks of step 4.
    public func decide(_ outputs: Outputs) -> Answer {
        var reasons: [String] = []
        if let filter = inputFilter, let found = outputs.inputKind {
            let kinds = zip(filter.kinds, found)
            let accepted = kinds.first { $0.0 == filter.accept }?.1 ?? 0
            if !(Double(accepted) >= filter.threshold) {
                reasons += kinds.filter { $0.0 != filter.accept }.max { $0.1 < $1.1 }.map { [$0.0] } ?? []
            }
        }
        if !outputs.probabilities.allSatisfy(\.isFinite) || !(outputs.novelty <= 1) { reasons.append("novel") }
        if !reasons.isEmpty { return Answer(decision: "refused", reasons: reasons) }

        let probabilities = Array(zip(labels, outputs.probabilities))
        let possible = probabilities.filter { Double($0.1) >= 1 - conformalQuantile }
        if possible.count == 1 { return Answer(decision: possible[0].0, probabilities: probabilities) }
        let code = possible.isEmpty ? "no-class" : "several-classes"
        return Answer(decision: "uncertain", reasons: [code], probabilities: probabilities)
    }
}

/// Outputs for one picture; `inputKind` only of bundles with an input filter.
public struct Outputs {
    public let probabilities: [Float]
    public let novelty: Float
    public let inputKind: [Float]?

    public init(probabilities: [Float], novelty: Float, inputKind: [Float]?) {
        (self.probabilities, self.novelty, self.inputKind) = (probabilities, novelty, inputKind)
    }
}

/// `decision` is a label, "uncertain" or "refused"; a refused picture has no probabilities.
public struct Answer {
    public var decision: String
    public var reasons: [String] = []
    public var probabilities: [(String, Float)] = []

    public init(decision: String, reasons: [String] = [], probabilities: [(String, Float)] = []) {
        (self.decision, self.reasons, self.probabilities) = (decision, reasons, probabilities)
    }
}

/// Fields of a protobuf message: their numbers, and the contents of those that have a length.
private func fields(_ message: ArraySlice<UInt8>) throws -> [(number: Int, content: ArraySlice<UInt8>)] {
    var found: [(number: Int, content: ArraySlice<UInt8>)] = []
    var at = message.startIndex
    func varint() throws -> Int {
        var value: UInt64 = 0
        for shift in stride(from: UInt64(0), to: 63, by: 7) {
            guard at < message.endIndex else { break }
            let byte = message[at]
            at += 1
            value |= UInt64(byte & 0x7F) << shift
            if byte < 0x80 { return Int(value) }
        }
        throw UnusableBundle(description: "no ONNX model, or cut short")
    }
    while at < message.endIndex {
        let tag = try varint()
        var content = message[at..<at]
        switch tag & 7 {
        case 0: _ = try varint()
        case 2:
            let length = try varint()
            guard length <= message.endIndex - at else { throw UnusableBundle(description: "no ONNX model, or cut short") }
            content = message[at..<at + length]
            at += length
        default: throw UnusableBundle(description: "no ONNX model")
        }
        found.append((tag >> 3, content))
    }
    return found
}
