import PocketCXR
import SwiftUI
import UIKit

@main
struct PocketCXRApp: App {
    var body: some Scene {
        WindowGroup { ContentView() }
    }
}

/// One screen: choose a picture, see what the student says of it.
struct ContentView: View {
    @State private var choosing = false
    @State private var image: UIImage?
    @State private var lines: [String] = []

    var body: some View {
        VStack(spacing: 16) {
            Text("Research use only. Not a medical device. The picture stays on this phone.").font(.footnote)
            Button("Choose a chest X-ray") { choosing = true }.buttonStyle(.borderedProminent)
            if let image { Image(uiImage: image).resizable().scaledToFit() }
            ForEach(lines, id: \.self) { Text($0) }
            Spacer()
        }
        .padding()
        .fileImporter(isPresented: $choosing, allowedContentTypes: [.png, .jpeg]) { chosen in
            guard case .success(let url) = chosen else { return }
            Task { (image, lines) = await score(url) }
        }
    }
}

/// The picture with what the student says of it, or no picture with the reason why it was not scored.
private func score(_ url: URL) async -> (UIImage?, [String]) {
    await Task.detached {
        do {
            let opened = url.startAccessingSecurityScopedResource()
            defer { if opened { url.stopAccessingSecurityScopedResource() } }
            let file = try Data(contentsOf: url)
            guard let bundle = Bundle.main.url(forResource: "student", withExtension: "onnx") else {
                throw UnusableBundle(description: "the app was built without student.onnx")
            }
            let student = try Student(bundle: bundle)
            let answer = try student.predict(Picture(file: file))
            let heading = ([answer.decision] + answer.reasons).joined(separator: ", ")
            let rows = answer.probabilities.map { "\($0.0) \(String(format: "%.3f", $0.1))" }
            return (UIImage(data: file), [heading] + rows + ["\(student.manifest.name) \(student.manifest.version)"])
        } catch {
            return (nil, ["Not scored: \(error)"])
        }
    }.value
}
