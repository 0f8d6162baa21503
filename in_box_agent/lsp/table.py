"""Where messages of LSP hold places. Written by deploy/lsp_table.py; do not edit."""

NODES: dict[str, dict[str, tuple[str, ...]]] = {
    "ApplyWorkspaceEditParams": {
        "edit": ("WorkspaceEdit",),
    },
    "CallHierarchyIncomingCall": {
        "from": ("CallHierarchyItem",),
    },
    "CallHierarchyIncomingCallsParams": {
        "item": ("CallHierarchyItem",),
    },
    "CallHierarchyItem": {
        "data": ("any",),
        "uri": ("uri",),
    },
    "CallHierarchyOutgoingCall": {
        "to": ("CallHierarchyItem",),
    },
    "CallHierarchyOutgoingCallsParams": {
        "item": ("CallHierarchyItem",),
    },
    "CallHierarchyPrepareParams": {
        "textDocument": ("TextDocumentIdentifier",),
    },
    "CallHierarchyRegistrationOptions": {
        "documentSelector": (
            "TextDocumentFilterLanguage",
            "TextDocumentFilterScheme",
            "TextDocumentFilterPattern",
            "NotebookCellTextDocumentFilter",
        ),
    },
    "ClientCapabilities": {
        "experimental": ("any",),
        "textDocument": ("TextDocumentClientCapabilities",),
    },
    "ClientSemanticTokensRequestOptions": {
        "range": ("any",),
    },
    "CodeAction": {
        "command": ("Command",),
        "data": ("any",),
        "diagnostics": ("Diagnostic",),
        "edit": ("WorkspaceEdit",),
    },
    "CodeActionContext": {
        "diagnostics": ("Diagnostic",),
    },
    "CodeActionKindDocumentation": {
        "command": ("Command",),
    },
    "CodeActionOptions": {
        "documentation": ("CodeActionKindDocumentation",),
    },
    "CodeActionParams": {
        "context": ("CodeActionContext",),
        "textDocument": ("TextDocumentIdentifier",),
    },
    "CodeDescription": {
        "href": ("uri",),
    },
    "CodeLens": {
        "command": ("Command",),
        "data": ("any",),
    },
    "CodeLensParams": {
        "textDocument": ("TextDocumentIdentifier",),
    },
    "ColorPresentationParams": {
        "textDocument": ("TextDocumentIdentifier",),
    },
    "Command": {
        "arguments": ("any",),
    },
    "CompletionItem": {
        "command": ("Command",),
        "data": ("any",),
    },
    "CompletionItemDefaults": {
        "data": ("any",),
    },
    "CompletionList": {
        "itemDefaults": ("CompletionItemDefaults",),
        "items": ("CompletionItem",),
    },
    "CompletionParams": {
        "textDocument": ("TextDocumentIdentifier",),
    },
    "ConfigurationItem": {
        "scopeUri": ("uri",),
    },
    "ConfigurationParams": {
        "items": ("ConfigurationItem",),
    },
    "CreateFile": {
        "uri": ("uri",),
    },
    "CreateFilesParams": {
        "files": ("FileCreate",),
    },
    "DeclarationParams": {
        "textDocument": ("TextDocumentIdentifier",),
    },
    "DeclarationRegistrationOptions": {
        "documentSelector": (
            "TextDocumentFilterLanguage",
            "TextDocumentFilterScheme",
            "TextDocumentFilterPattern",
            "NotebookCellTextDocumentFilter",
        ),
    },
    "DefinitionParams": {
        "textDocument": ("TextDocumentIdentifier",),
    },
    "DeleteFile": {
        "uri": ("uri",),
    },
    "DeleteFilesParams": {
        "files": ("FileDelete",),
    },
    "Diagnostic": {
        "codeDescription": ("CodeDescription",),
        "data": ("any",),
        "relatedInformation": ("DiagnosticRelatedInformation",),
    },
    "DiagnosticRegistrationOptions": {
        "documentSelector": (
            "TextDocumentFilterLanguage",
            "TextDocumentFilterScheme",
            "TextDocumentFilterPattern",
            "NotebookCellTextDocumentFilter",
        ),
    },
    "DiagnosticRelatedInformation": {
        "location": ("Location",),
    },
    "DidChangeConfigurationParams": {
        "settings": ("any",),
    },
    "DidChangeNotebookDocumentParams": {
        "change": ("NotebookDocumentChangeEvent",),
        "notebookDocument": ("VersionedNotebookDocumentIdentifier",),
    },
    "DidChangeTextDocumentParams": {
        "textDocument": ("VersionedTextDocumentIdentifier",),
    },
    "DidChangeWatchedFilesParams": {
        "changes": ("FileEvent",),
    },
    "DidChangeWorkspaceFoldersParams": {
        "event": ("WorkspaceFoldersChangeEvent",),
    },
    "DidCloseNotebookDocumentParams": {
        "cellTextDocuments": ("TextDocumentIdentifier",),
        "notebookDocument": ("NotebookDocumentIdentifier",),
    },
    "DidCloseTextDocumentParams": {
        "textDocument": ("TextDocumentIdentifier",),
    },
    "DidOpenNotebookDocumentParams": {
        "cellTextDocuments": ("TextDocumentItem",),
        "notebookDocument": ("NotebookDocument",),
    },
    "DidOpenTextDocumentParams": {
        "textDocument": ("TextDocumentItem",),
    },
    "DidSaveNotebookDocumentParams": {
        "notebookDocument": ("NotebookDocumentIdentifier",),
    },
    "DidSaveTextDocumentParams": {
        "textDocument": ("TextDocumentIdentifier",),
    },
    "DocumentColorParams": {
        "textDocument": ("TextDocumentIdentifier",),
    },
    "DocumentColorRegistrationOptions": {
        "documentSelector": (
            "TextDocumentFilterLanguage",
            "TextDocumentFilterScheme",
            "TextDocumentFilterPattern",
            "NotebookCellTextDocumentFilter",
        ),
    },
    "DocumentDiagnosticParams": {
        "textDocument": ("TextDocumentIdentifier",),
    },
    "DocumentFormattingParams": {
        "textDocument": ("TextDocumentIdentifier",),
    },
    "DocumentHighlightParams": {
        "textDocument": ("TextDocumentIdentifier",),
    },
    "DocumentLink": {
        "data": ("any",),
        "target": ("uri",),
    },
    "DocumentLinkParams": {
        "textDocument": ("TextDocumentIdentifier",),
    },
    "DocumentOnTypeFormattingParams": {
        "textDocument": ("TextDocumentIdentifier",),
    },
    "DocumentRangeFormattingParams": {
        "textDocument": ("TextDocumentIdentifier",),
    },
    "DocumentRangesFormattingParams": {
        "textDocument": ("TextDocumentIdentifier",),
    },
    "DocumentSymbolParams": {
        "textDocument": ("TextDocumentIdentifier",),
    },
    "ExecuteCommandParams": {
        "arguments": ("any",),
    },
    "FileCreate": {
        "uri": ("uri",),
    },
    "FileDelete": {
        "uri": ("uri",),
    },
    "FileEvent": {
        "uri": ("uri",),
    },
    "FileRename": {
        "newUri": ("uri",),
        "oldUri": ("uri",),
    },
    "FoldingRangeParams": {
        "textDocument": ("TextDocumentIdentifier",),
    },
    "FoldingRangeRegistrationOptions": {
        "documentSelector": (
            "TextDocumentFilterLanguage",
            "TextDocumentFilterScheme",
            "TextDocumentFilterPattern",
            "NotebookCellTextDocumentFilter",
        ),
    },
    "FullDocumentDiagnosticReport": {
        "items": ("Diagnostic",),
    },
    "HoverParams": {
        "textDocument": ("TextDocumentIdentifier",),
    },
    "ImplementationParams": {
        "textDocument": ("TextDocumentIdentifier",),
    },
    "ImplementationRegistrationOptions": {
        "documentSelector": (
            "TextDocumentFilterLanguage",
            "TextDocumentFilterScheme",
            "TextDocumentFilterPattern",
            "NotebookCellTextDocumentFilter",
        ),
    },
    "InitializeParams": {
        "capabilities": ("ClientCapabilities",),
        "initializationOptions": ("any",),
        "rootPath": ("path",),
        "rootUri": ("uri",),
        "workspaceFolders": ("WorkspaceFolder",),
    },
    "InitializeResult": {
        "capabilities": ("ServerCapabilities",),
    },
    "InlayHint": {
        "data": ("any",),
        "label": ("InlayHintLabelPart",),
    },
    "InlayHintLabelPart": {
        "command": ("Command",),
        "location": ("Location",),
    },
    "InlayHintParams": {
        "textDocument": ("TextDocumentIdentifier",),
    },
    "InlayHintRegistrationOptions": {
        "documentSelector": (
            "TextDocumentFilterLanguage",
            "TextDocumentFilterScheme",
            "TextDocumentFilterPattern",
            "NotebookCellTextDocumentFilter",
        ),
    },
    "InlineCompletionItem": {
        "command": ("Command",),
    },
    "InlineCompletionList": {
        "items": ("InlineCompletionItem",),
    },
    "InlineCompletionParams": {
        "textDocument": ("TextDocumentIdentifier",),
    },
    "InlineValueParams": {
        "textDocument": ("TextDocumentIdentifier",),
    },
    "InlineValueRegistrationOptions": {
        "documentSelector": (
            "TextDocumentFilterLanguage",
            "TextDocumentFilterScheme",
            "TextDocumentFilterPattern",
            "NotebookCellTextDocumentFilter",
        ),
    },
    "LinkedEditingRangeParams": {
        "textDocument": ("TextDocumentIdentifier",),
    },
    "LinkedEditingRangeRegistrationOptions": {
        "documentSelector": (
            "TextDocumentFilterLanguage",
            "TextDocumentFilterScheme",
            "TextDocumentFilterPattern",
            "NotebookCellTextDocumentFilter",
        ),
    },
    "Location": {
        "uri": ("uri",),
    },
    "LocationLink": {
        "targetUri": ("uri",),
    },
    "LocationUriOnly": {
        "uri": ("uri",),
    },
    "MonikerParams": {
        "textDocument": ("TextDocumentIdentifier",),
    },
    "MonikerRegistrationOptions": {
        "documentSelector": (
            "TextDocumentFilterLanguage",
            "TextDocumentFilterScheme",
            "TextDocumentFilterPattern",
            "NotebookCellTextDocumentFilter",
        ),
    },
    "NotebookCell": {
        "document": ("uri",),
        "metadata": ("any",),
    },
    "NotebookCellArrayChange": {
        "cells": ("NotebookCell",),
    },
    "NotebookCellTextDocumentFilter": {
        "notebook": (
            "NotebookDocumentFilterNotebookType",
            "NotebookDocumentFilterScheme",
            "NotebookDocumentFilterPattern",
        ),
    },
    "NotebookDocument": {
        "cells": ("NotebookCell",),
        "metadata": ("any",),
        "uri": ("uri",),
    },
    "NotebookDocumentCellChangeStructure": {
        "array": ("NotebookCellArrayChange",),
        "didClose": ("TextDocumentIdentifier",),
        "didOpen": ("TextDocumentItem",),
    },
    "NotebookDocumentCellChanges": {
        "data": ("NotebookCell",),
        "structure": ("NotebookDocumentCellChangeStructure",),
        "textContent": ("NotebookDocumentCellContentChanges",),
    },
    "NotebookDocumentCellContentChanges": {
        "document": ("VersionedTextDocumentIdentifier",),
    },
    "NotebookDocumentChangeEvent": {
        "cells": ("NotebookDocumentCellChanges",),
        "metadata": ("any",),
    },
    "NotebookDocumentFilterNotebookType": {
        "pattern": ("glob", "RelativePattern"),
    },
    "NotebookDocumentFilterPattern": {
        "pattern": ("glob", "RelativePattern"),
    },
    "NotebookDocumentFilterScheme": {
        "pattern": ("glob", "RelativePattern"),
    },
    "NotebookDocumentFilterWithCells": {
        "notebook": (
            "NotebookDocumentFilterNotebookType",
            "NotebookDocumentFilterScheme",
            "NotebookDocumentFilterPattern",
        ),
    },
    "NotebookDocumentFilterWithNotebook": {
        "notebook": (
            "NotebookDocumentFilterNotebookType",
            "NotebookDocumentFilterScheme",
            "NotebookDocumentFilterPattern",
        ),
    },
    "NotebookDocumentIdentifier": {
        "uri": ("uri",),
    },
    "NotebookDocumentSyncOptions": {
        "notebookSelector": (
            "NotebookDocumentFilterWithNotebook",
            "NotebookDocumentFilterWithCells",
        ),
    },
    "NotebookDocumentSyncRegistrationOptions": {
        "notebookSelector": (
            "NotebookDocumentFilterWithNotebook",
            "NotebookDocumentFilterWithCells",
        ),
    },
    "OptionalVersionedTextDocumentIdentifier": {
        "uri": ("uri",),
    },
    "PrepareRenameParams": {
        "textDocument": ("TextDocumentIdentifier",),
    },
    "PreviousResultId": {
        "uri": ("uri",),
    },
    "ProgressParams": {
        "value": ("any",),
    },
    "PublishDiagnosticsParams": {
        "diagnostics": ("Diagnostic",),
        "uri": ("uri",),
    },
    "ReferenceParams": {
        "textDocument": ("TextDocumentIdentifier",),
    },
    "Registration": {
        "registerOptions": ("any",),
    },
    "RegistrationParams": {
        "registrations": ("Registration",),
    },
    "RelatedFullDocumentDiagnosticReport": {
        "items": ("Diagnostic",),
        "relatedDocuments": ("keys", "FullDocumentDiagnosticReport"),
    },
    "RelatedUnchangedDocumentDiagnosticReport": {
        "relatedDocuments": ("keys", "FullDocumentDiagnosticReport"),
    },
    "RelativePattern": {
        "baseUri": ("WorkspaceFolder", "uri"),
        "pattern": ("glob",),
    },
    "RenameFile": {
        "newUri": ("uri",),
        "oldUri": ("uri",),
    },
    "RenameFilesParams": {
        "files": ("FileRename",),
    },
    "RenameParams": {
        "textDocument": ("TextDocumentIdentifier",),
    },
    "SelectionRangeParams": {
        "textDocument": ("TextDocumentIdentifier",),
    },
    "SelectionRangeRegistrationOptions": {
        "documentSelector": (
            "TextDocumentFilterLanguage",
            "TextDocumentFilterScheme",
            "TextDocumentFilterPattern",
            "NotebookCellTextDocumentFilter",
        ),
    },
    "SemanticTokensClientCapabilities": {
        "requests": ("ClientSemanticTokensRequestOptions",),
    },
    "SemanticTokensDeltaParams": {
        "textDocument": ("TextDocumentIdentifier",),
    },
    "SemanticTokensOptions": {
        "range": ("any",),
    },
    "SemanticTokensParams": {
        "textDocument": ("TextDocumentIdentifier",),
    },
    "SemanticTokensRangeParams": {
        "textDocument": ("TextDocumentIdentifier",),
    },
    "SemanticTokensRegistrationOptions": {
        "documentSelector": (
            "TextDocumentFilterLanguage",
            "TextDocumentFilterScheme",
            "TextDocumentFilterPattern",
            "NotebookCellTextDocumentFilter",
        ),
        "range": ("any",),
    },
    "ServerCapabilities": {
        "callHierarchyProvider": ("CallHierarchyRegistrationOptions",),
        "codeActionProvider": ("CodeActionOptions",),
        "colorProvider": ("DocumentColorRegistrationOptions",),
        "declarationProvider": ("DeclarationRegistrationOptions",),
        "diagnosticProvider": ("DiagnosticRegistrationOptions",),
        "experimental": ("any",),
        "foldingRangeProvider": ("FoldingRangeRegistrationOptions",),
        "implementationProvider": ("ImplementationRegistrationOptions",),
        "inlayHintProvider": ("InlayHintRegistrationOptions",),
        "inlineValueProvider": ("InlineValueRegistrationOptions",),
        "linkedEditingRangeProvider": ("LinkedEditingRangeRegistrationOptions",),
        "monikerProvider": ("MonikerRegistrationOptions",),
        "notebookDocumentSync": (
            "NotebookDocumentSyncOptions",
            "NotebookDocumentSyncRegistrationOptions",
        ),
        "selectionRangeProvider": ("SelectionRangeRegistrationOptions",),
        "semanticTokensProvider": ("SemanticTokensOptions", "SemanticTokensRegistrationOptions"),
        "typeDefinitionProvider": ("TypeDefinitionRegistrationOptions",),
        "typeHierarchyProvider": ("TypeHierarchyRegistrationOptions",),
    },
    "ShowDocumentParams": {
        "uri": ("uri",),
    },
    "SignatureHelpParams": {
        "textDocument": ("TextDocumentIdentifier",),
    },
    "SymbolInformation": {
        "location": ("Location",),
    },
    "TextDocumentClientCapabilities": {
        "semanticTokens": ("SemanticTokensClientCapabilities",),
    },
    "TextDocumentContentParams": {
        "uri": ("uri",),
    },
    "TextDocumentContentRefreshParams": {
        "uri": ("uri",),
    },
    "TextDocumentEdit": {
        "textDocument": ("OptionalVersionedTextDocumentIdentifier",),
    },
    "TextDocumentFilterLanguage": {
        "pattern": ("glob", "RelativePattern"),
    },
    "TextDocumentFilterPattern": {
        "pattern": ("glob", "RelativePattern"),
    },
    "TextDocumentFilterScheme": {
        "pattern": ("glob", "RelativePattern"),
    },
    "TextDocumentIdentifier": {
        "uri": ("uri",),
    },
    "TextDocumentItem": {
        "uri": ("uri",),
    },
    "TypeDefinitionParams": {
        "textDocument": ("TextDocumentIdentifier",),
    },
    "TypeDefinitionRegistrationOptions": {
        "documentSelector": (
            "TextDocumentFilterLanguage",
            "TextDocumentFilterScheme",
            "TextDocumentFilterPattern",
            "NotebookCellTextDocumentFilter",
        ),
    },
    "TypeHierarchyItem": {
        "data": ("any",),
        "uri": ("uri",),
    },
    "TypeHierarchyPrepareParams": {
        "textDocument": ("TextDocumentIdentifier",),
    },
    "TypeHierarchyRegistrationOptions": {
        "documentSelector": (
            "TextDocumentFilterLanguage",
            "TextDocumentFilterScheme",
            "TextDocumentFilterPattern",
            "NotebookCellTextDocumentFilter",
        ),
    },
    "TypeHierarchySubtypesParams": {
        "item": ("TypeHierarchyItem",),
    },
    "TypeHierarchySupertypesParams": {
        "item": ("TypeHierarchyItem",),
    },
    "VersionedNotebookDocumentIdentifier": {
        "uri": ("uri",),
    },
    "VersionedTextDocumentIdentifier": {
        "uri": ("uri",),
    },
    "WillSaveTextDocumentParams": {
        "textDocument": ("TextDocumentIdentifier",),
    },
    "WorkspaceDiagnosticParams": {
        "previousResultIds": ("PreviousResultId",),
    },
    "WorkspaceDiagnosticReport": {
        "items": (
            "WorkspaceFullDocumentDiagnosticReport",
            "WorkspaceUnchangedDocumentDiagnosticReport",
        ),
    },
    "WorkspaceEdit": {
        "changes": ("keys",),
        "documentChanges": ("TextDocumentEdit", "CreateFile", "RenameFile", "DeleteFile"),
    },
    "WorkspaceFolder": {
        "uri": ("uri",),
    },
    "WorkspaceFoldersChangeEvent": {
        "added": ("WorkspaceFolder",),
        "removed": ("WorkspaceFolder",),
    },
    "WorkspaceFullDocumentDiagnosticReport": {
        "items": ("Diagnostic",),
        "uri": ("uri",),
    },
    "WorkspaceSymbol": {
        "data": ("any",),
        "location": ("Location", "LocationUriOnly"),
    },
    "WorkspaceUnchangedDocumentDiagnosticReport": {
        "uri": ("uri",),
    },
}
"""Type -> field -> what its value may be: a kind of value, or a type."""

METHODS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "$/cancelRequest": ((), ()),
    "$/logTrace": ((), ()),
    "$/progress": (("ProgressParams",), ()),
    "$/setTrace": ((), ()),
    "callHierarchy/incomingCalls": (
        ("CallHierarchyIncomingCallsParams",),
        ("CallHierarchyIncomingCall",),
    ),
    "callHierarchy/outgoingCalls": (
        ("CallHierarchyOutgoingCallsParams",),
        ("CallHierarchyOutgoingCall",),
    ),
    "client/registerCapability": (("RegistrationParams",), ()),
    "client/unregisterCapability": ((), ()),
    "codeAction/resolve": (("CodeAction",), ("CodeAction",)),
    "codeLens/resolve": (("CodeLens",), ("CodeLens",)),
    "completionItem/resolve": (("CompletionItem",), ("CompletionItem",)),
    "documentLink/resolve": (("DocumentLink",), ("DocumentLink",)),
    "exit": ((), ()),
    "initialize": (("InitializeParams",), ("InitializeResult",)),
    "initialized": ((), ()),
    "inlayHint/resolve": (("InlayHint",), ("InlayHint",)),
    "notebookDocument/didChange": (("DidChangeNotebookDocumentParams",), ()),
    "notebookDocument/didClose": (("DidCloseNotebookDocumentParams",), ()),
    "notebookDocument/didOpen": (("DidOpenNotebookDocumentParams",), ()),
    "notebookDocument/didSave": (("DidSaveNotebookDocumentParams",), ()),
    "shutdown": ((), ()),
    "telemetry/event": (("any",), ()),
    "textDocument/codeAction": (("CodeActionParams",), ("Command", "CodeAction")),
    "textDocument/codeLens": (("CodeLensParams",), ("CodeLens",)),
    "textDocument/colorPresentation": (("ColorPresentationParams",), ()),
    "textDocument/completion": (("CompletionParams",), ("CompletionItem", "CompletionList")),
    "textDocument/declaration": (("DeclarationParams",), ("Location", "LocationLink")),
    "textDocument/definition": (("DefinitionParams",), ("Location", "LocationLink")),
    "textDocument/diagnostic": (
        ("DocumentDiagnosticParams",),
        ("RelatedFullDocumentDiagnosticReport", "RelatedUnchangedDocumentDiagnosticReport"),
    ),
    "textDocument/didChange": (("DidChangeTextDocumentParams",), ()),
    "textDocument/didClose": (("DidCloseTextDocumentParams",), ()),
    "textDocument/didOpen": (("DidOpenTextDocumentParams",), ()),
    "textDocument/didSave": (("DidSaveTextDocumentParams",), ()),
    "textDocument/documentColor": (("DocumentColorParams",), ()),
    "textDocument/documentHighlight": (("DocumentHighlightParams",), ()),
    "textDocument/documentLink": (("DocumentLinkParams",), ("DocumentLink",)),
    "textDocument/documentSymbol": (("DocumentSymbolParams",), ("SymbolInformation",)),
    "textDocument/foldingRange": (("FoldingRangeParams",), ()),
    "textDocument/formatting": (("DocumentFormattingParams",), ()),
    "textDocument/hover": (("HoverParams",), ()),
    "textDocument/implementation": (("ImplementationParams",), ("Location", "LocationLink")),
    "textDocument/inlayHint": (("InlayHintParams",), ("InlayHint",)),
    "textDocument/inlineCompletion": (
        ("InlineCompletionParams",),
        ("InlineCompletionList", "InlineCompletionItem"),
    ),
    "textDocument/inlineValue": (("InlineValueParams",), ()),
    "textDocument/linkedEditingRange": (("LinkedEditingRangeParams",), ()),
    "textDocument/moniker": (("MonikerParams",), ()),
    "textDocument/onTypeFormatting": (("DocumentOnTypeFormattingParams",), ()),
    "textDocument/prepareCallHierarchy": (("CallHierarchyPrepareParams",), ("CallHierarchyItem",)),
    "textDocument/prepareRename": (("PrepareRenameParams",), ()),
    "textDocument/prepareTypeHierarchy": (("TypeHierarchyPrepareParams",), ("TypeHierarchyItem",)),
    "textDocument/publishDiagnostics": (("PublishDiagnosticsParams",), ()),
    "textDocument/rangeFormatting": (("DocumentRangeFormattingParams",), ()),
    "textDocument/rangesFormatting": (("DocumentRangesFormattingParams",), ()),
    "textDocument/references": (("ReferenceParams",), ("Location",)),
    "textDocument/rename": (("RenameParams",), ("WorkspaceEdit",)),
    "textDocument/selectionRange": (("SelectionRangeParams",), ()),
    "textDocument/semanticTokens/full": (("SemanticTokensParams",), ()),
    "textDocument/semanticTokens/full/delta": (("SemanticTokensDeltaParams",), ()),
    "textDocument/semanticTokens/range": (("SemanticTokensRangeParams",), ()),
    "textDocument/signatureHelp": (("SignatureHelpParams",), ()),
    "textDocument/typeDefinition": (("TypeDefinitionParams",), ("Location", "LocationLink")),
    "textDocument/willSave": (("WillSaveTextDocumentParams",), ()),
    "textDocument/willSaveWaitUntil": (("WillSaveTextDocumentParams",), ()),
    "typeHierarchy/subtypes": (("TypeHierarchySubtypesParams",), ("TypeHierarchyItem",)),
    "typeHierarchy/supertypes": (("TypeHierarchySupertypesParams",), ("TypeHierarchyItem",)),
    "window/logMessage": ((), ()),
    "window/showDocument": (("ShowDocumentParams",), ()),
    "window/showMessage": ((), ()),
    "window/showMessageRequest": ((), ()),
    "window/workDoneProgress/cancel": ((), ()),
    "window/workDoneProgress/create": ((), ()),
    "workspace/applyEdit": (("ApplyWorkspaceEditParams",), ()),
    "workspace/codeLens/refresh": ((), ()),
    "workspace/configuration": (("ConfigurationParams",), ("any",)),
    "workspace/diagnostic": (("WorkspaceDiagnosticParams",), ("WorkspaceDiagnosticReport",)),
    "workspace/diagnostic/refresh": ((), ()),
    "workspace/didChangeConfiguration": (("DidChangeConfigurationParams",), ()),
    "workspace/didChangeWatchedFiles": (("DidChangeWatchedFilesParams",), ()),
    "workspace/didChangeWorkspaceFolders": (("DidChangeWorkspaceFoldersParams",), ()),
    "workspace/didCreateFiles": (("CreateFilesParams",), ()),
    "workspace/didDeleteFiles": (("DeleteFilesParams",), ()),
    "workspace/didRenameFiles": (("RenameFilesParams",), ()),
    "workspace/executeCommand": (("ExecuteCommandParams",), ("any",)),
    "workspace/foldingRange/refresh": ((), ()),
    "workspace/inlayHint/refresh": ((), ()),
    "workspace/inlineValue/refresh": ((), ()),
    "workspace/semanticTokens/refresh": ((), ()),
    "workspace/symbol": ((), ("SymbolInformation", "WorkspaceSymbol")),
    "workspace/textDocumentContent": (("TextDocumentContentParams",), ()),
    "workspace/textDocumentContent/refresh": (("TextDocumentContentRefreshParams",), ()),
    "workspace/willCreateFiles": (("CreateFilesParams",), ("WorkspaceEdit",)),
    "workspace/willDeleteFiles": (("DeleteFilesParams",), ("WorkspaceEdit",)),
    "workspace/willRenameFiles": (("RenameFilesParams",), ("WorkspaceEdit",)),
    "workspace/workspaceFolders": ((), ("WorkspaceFolder",)),
    "workspaceSymbol/resolve": (("WorkspaceSymbol",), ("WorkspaceSymbol",)),
}
"""Method -> what its params and its result may be."""
