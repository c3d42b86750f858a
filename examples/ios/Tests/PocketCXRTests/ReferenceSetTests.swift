// The reference set (docs/reference/preprocessing.md). Decoders differ between platforms, so these tests start from the
// grey values that the set holds whole; on an iPhone or Mac the app's own decoder is tested too.
import Foundation
import XCTest

@testable import PocketCXR

final class ReferenceSetTests: XCTestCase {
    struct Check {
        let picture, step, expected: String
        let height, width, stride: Int
        let tolerance: Float
    }

    static let examples = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
        .deletingLastPathComponent().deletingLastPathComponent()
    static let folder = examples.appendingPathComponent("reference")
    let manifest = try! Manifest.parse(Data(contentsOf: folder.appendingPathComponent("manifest.json")))

    func checks() throws -> [String: [Check]] {
        let text = try String(contentsOf: Self.folder.appendingPathComponent("reference.tsv"), encoding: .utf8)
        let rows = text.split(separator: "\n").dropFirst().map { line in
            let cells = line.split(separator: "\t", omittingEmptySubsequences: false).map(String.init)
            return Check(
                picture: cells[0], step: cells[1], expected: cells[6], height: Int(cells[2])!, width: Int(cells[3])!,
                stride: Int(cells[4])!, tolerance: Float(cells[5])!)
        }
        return Dictionary(grouping: rows.filter { $0.picture != "-" }, by: \.picture)
    }

    func numbers(_ check: Check) throws -> [Float] {
        guard check.expected.hasPrefix("expected/") else {
            return check.expected.split(separator: " ").map { Float($0)! }
        }
        let data = try Data(contentsOf: Self.folder.appendingPathComponent(check.expected))
        return data.withUnsafeBytes { bytes in
            stride(from: 0, to: bytes.count, by: 4).map {
                Float(bitPattern: UInt32(littleEndian: bytes.loadUnaligned(fromByteOffset: $0, as: UInt32.self)))
            }
        }
    }

    func compare(_ check: Check, _ found: [Float]) throws {
        var kept = found
        if check.width > 0 {
            XCTAssertEqual(found.count, check.height * check.width, "\(check.picture) \(check.step)")
            let columns = Array(stride(from: 0, to: check.width, by: check.stride))
            kept = stride(from: 0, to: check.height, by: check.stride).flatMap { y in
                columns.map { found[y * check.width + $0] }
            }
        }
        let expected = try numbers(check)
        XCTAssertEqual(kept.count, expected.count, "\(check.picture) \(check.step)")
        let largest = zip(kept, expected).map { abs($0 - $1) }.max() ?? .infinity
        XCTAssertLessThanOrEqual(largest, check.tolerance, "\(check.picture) \(check.step)")
    }

    func compareSteps(_ checks: [Check], _ picture: Picture) throws {
        for check in checks {
            switch check.step {
            case "grey": try compare(check, picture.grey)
            case "contrast": try compare(check, [picture.contrast])
            case "refusals": XCTAssertEqual(picture.refusals.isEmpty ? "-" : picture.refusals.joined(separator: " "), check.expected, check.picture)
            case "squash-32": try compare(check, picture.resized(to: 32, aspect: "squash"))
            case "pad-48": try compare(check, picture.resized(to: 48, aspect: "pad"))
            case "input":
                let preprocessing = manifest.preprocessing
                try compare(check, picture.resized(to: preprocessing.size, aspect: preprocessing.aspect))
            default: break
            }
        }
    }

    func testStepsFromGreyValuesOn() throws {
        var compared = 0
        for checks in try checks().values {
            guard let grey = checks.first(where: { $0.step == "grey" && $0.stride == 1 }) else { continue }
            try compareSteps(checks, Picture(width: grey.width, height: grey.height, grey: numbers(grey)))
            compared += 1
        }
        XCTAssertGreaterThanOrEqual(compared, 2)
    }

    func testDecisionsFollowFromTheOutputsThatTheSetLists() throws {
        var compared = 0
        for (name, checks) in try checks() {
            let steps = Dictionary(uniqueKeysWithValues: checks.map { ($0.step, $0) })
            guard let decision = steps["decision"], let probabilities = steps["probabilities"], let novelty = steps["novelty"],
                let refusals = steps["refusals"], refusals.expected == "-"
            else { continue }
            let outputs = Outputs(
                probabilities: try numbers(probabilities), novelty: try numbers(novelty)[0],
                inputKind: try steps["input_kind"].map(numbers))
            let answer = manifest.decide(outputs)
            XCTAssertEqual(([answer.decision] + answer.reasons).joined(separator: " "), decision.expected, name)
            compared += 1
        }
        XCTAssertGreaterThanOrEqual(compared, 8)
    }

    func testGreyOfColoursAndAlpha() {
        let colours = Picture(samples: [10, 10, 10, 255, 100, 90, 110, 51], channels: 4, bits: 8, width: 2, height: 1)
        XCTAssertEqual(colours.grey[0], 10 / 255, accuracy: 1e-6)
        XCTAssertEqual(colours.grey[1], (0.299 * 100 + 0.587 * 90 + 0.114 * 110) / 255 * 0.2, accuracy: 1e-6)
        XCTAssertTrue(colours.coloured)
        let deep = Picture(samples: [65535, 256], channels: 1, bits: 16, width: 2, height: 1)
        XCTAssertEqual(deep.grey, [1, Float(256) / 65535])
    }

    func testUprightTurnsAsExifSays() {
        let stored = Picture(width: 3, height: 2, grey: [1, 2, 3, 4, 5, 6])
        let expected: [Int: [Float]] = [
            1: [1, 2, 3, 4, 5, 6], 2: [3, 2, 1, 6, 5, 4], 3: [6, 5, 4, 3, 2, 1], 4: [4, 5, 6, 1, 2, 3],
            5: [1, 4, 2, 5, 3, 6], 6: [4, 1, 5, 2, 6, 3], 7: [6, 3, 5, 2, 4, 1], 8: [3, 6, 2, 5, 1, 4],
        ]
        for (orientation, grey) in expected { XCTAssertEqual(stored.upright(orientation).grey, grey, "\(orientation)") }
    }

    func testTheManifestInsideTheBundleIsThatOfTheSet() throws {
        let folder = Self.examples.deletingLastPathComponent().appendingPathComponent("src/pocketcxr/bundle/weights")
        let files = try FileManager.default.contentsOfDirectory(at: folder, includingPropertiesForKeys: nil)
        let bundle = try Data(contentsOf: XCTUnwrap(files.first { $0.pathExtension == "onnx" }))
        let found = try Manifest.ofBundle(bundle)
        XCTAssertEqual(found.labels, manifest.labels)
        XCTAssertEqual(found.conformalQuantile, manifest.conformalQuantile)
        XCTAssertThrowsError(try Manifest.ofBundle(bundle.prefix(bundle.count / 2)))
        XCTAssertThrowsError(try Manifest.ofBundle(Data("text".utf8)))
    }

    #if canImport(ImageIO)
        func testTheDecoderOfThisPlatform() throws {
            for (name, checks) in try checks() where !name.hasSuffix(".dcm") && !name.contains("12-in-16") {
                let file = try Data(contentsOf: Self.folder.appendingPathComponent("pictures/\(name)"))
                try compareSteps(checks, Picture(file: file))
            }
        }
    #endif
}
